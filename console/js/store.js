// What is known of this node: the newest snapshot, its history, and whether the node still answers.

import { Poll } from './poll.js';
import { History } from './stats.js';

const URL = '/console/stats.json';
const EVERY_MS = 1000;
const TIMEOUT_MS = 5000;

export class Store {
  history = new History();
  /** The newest snapshot, or null. */
  stats = null;
  /** Rates and latencies of the newest snapshot. */
  point = null;
  /** When it came, by this machine's clock, ms. */
  seenMs = null;
  /** `{problem, nextMs}` while the node does not answer, else null. `nextMs`: when it is asked again, or null for never. */
  trouble = null;
  #listeners = new Set();
  #poll;

  constructor(api) {
    this.#poll = new Poll({
      ask: () => api.get(URL, { background: true, timeoutMs: TIMEOUT_MS }),
      everyMs: EVERY_MS,
      onAnswer: (stats) => this.#take(stats),
      onFailure: (problem, waitMs) => {
        this.trouble = { problem, nextMs: waitMs === null ? null : Date.now() + waitMs };
        this.#tell();
      },
    });
  }

  start() {
    this.#poll.start();
  }

  /** Asks at once. */
  retry() {
    this.#poll.now();
  }

  /** `listener(store)` after every change. */
  subscribe(listener) {
    this.#listeners.add(listener);
  }

  #take(stats) {
    this.point = this.history.add(stats);
    this.stats = stats;
    this.seenMs = Date.now();
    this.trouble = null;
    this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener(this);
  }
}
