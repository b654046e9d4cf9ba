// Hands messages to the application one after the other, and keeps the cursor behind what it has handled.

import { PerseidError } from './errors.js';

const COMMIT_EVERY = 50;

/** `tell(message)` waits for the application; `stored(pos, generation)` after the cursor is kept; `failed(error)` ends it. */
export class Delivery {
  #storage;
  #tell;
  #stored;
  #failed;
  #jobs = [];
  #done = [];
  #cursor = null;
  #since = 0;
  #epoch;
  #running = null;
  #over = false;

  constructor({ storage, epoch, tell, stored, failed }) {
    this.#storage = storage;
    this.#epoch = epoch;
    this.#tell = tell;
    this.#stored = stored;
    this.#failed = failed;
  }

  /** Takes an action of the core: `deliver`, `moved` or `done`. */
  add(action) {
    if (this.#over) return;
    this.#jobs.push(action);
    this.#running ??= this.#run();
  }

  /** Nothing more is told; resolves when what runs has ended. */
  async close() {
    this.#over = true;
    this.#jobs = [];
    await this.#running;
  }

  async #run() {
    // Not at once: who adds the first one may add more.
    await null;
    try {
      while (this.#jobs.length > 0) {
        await this.#one(this.#jobs.shift());
        if (this.#jobs.length === 0 || this.#since >= COMMIT_EVERY) await this.#commit();
      }
      this.#running = null;
    } catch (error) {
      // What was told and not kept comes again; going on would pass over it.
      this.#over = true;
      this.#jobs = [];
      this.#failed(error);
    }
  }

  async #one(job) {
    if (job.do === 'done') this.#done.push(job.entry.cid);
    if (job.do === 'moved') {
      this.#epoch = job.cursor.epoch;
      this.#cursor = { ...job.cursor, generation: null };
    }
    if (job.do !== 'deliver') return;
    try {
      await this.#tell(job.message);
    } catch (error) {
      throw new PerseidError('HANDLER_FAILED', `a listener of "message" failed: ${error?.message ?? error}`, { detail: { cause: error, pos: job.message.pos } });
    }
    this.#cursor = { epoch: this.#epoch, pos: job.message.pos, generation: job.generation };
    this.#since += 1;
  }

  // What is done leaves the outbox no later than the cursor passes it.
  async #commit() {
    const [cursor, done] = [this.#cursor, this.#done];
    if (cursor === null && done.length === 0) return;
    [this.#cursor, this.#done, this.#since] = [null, [], 0];
    const { epoch, pos, generation } = cursor ?? {};
    await this.#storage.commit({ cursor: cursor && { epoch, pos }, done });
    if (cursor !== null && generation !== null && !this.#over) this.#stored(pos, generation);
  }
}
