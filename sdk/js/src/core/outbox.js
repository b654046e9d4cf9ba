// Messages on their way out: in order, each with one cid for life, again only where that cannot make a second one.

import { FLAG } from '../tables.js';

/** Sends without an answer yet, on one session. */
const IN_FLIGHT_MAX = 32;
const IN_FLIGHT_BYTES_MAX = 512 * 1024;
const ENTRIES_MAX = 10_000;
const BYTES_MAX = 16 * 1024 * 1024;
const RETRY_MS = 500;
const RETRY_MS_MAX = 30_000;

/**
 * `entries`: what an earlier run left, in order: `{cid, kind, conv, body, quiet, atMs}`. `ports`: `send(entry)` writes it to
 * the session, `done(entry, outcome)` tells how it ended.
 */
export class Outbox {
  #ports;
  #random;
  #entries = new Map();
  #bytes = 0;
  #inFlight = new Map();
  #inFlightBytes = 0;
  #live = false;
  #paused = false;
  #resumeAt = null;
  #pauseMs = 0;
  #refusals = 0;

  constructor({ entries, random, ports }) {
    this.#ports = ports;
    this.#random = random;
    for (const entry of entries) this.#keep(entry);
  }

  /** Whether one more of so many bytes fits. */
  fits(bytes) {
    return this.#entries.size < ENTRIES_MAX && this.#bytes + bytes <= BYTES_MAX;
  }

  get size() {
    return this.#entries.size;
  }

  /** A new message, already persisted. */
  add(entry, now) {
    this.#keep(entry);
    this.#flow(now);
  }

  /** This session has read the inbox to its head: what has not come back by now was not seen, and goes out again. */
  live(now) {
    this.#live = true;
    this.#flow(now);
  }

  /** The session is gone; what it had in flight is unknown until the next one is live. */
  lost() {
    this.#live = false;
    this.#inFlight.clear();
    this.#inFlightBytes = 0;
    this.#paused = false;
    this.#resumeAt = null;
  }

  /** The server has it: by the reply, or because it came back through the inbox. */
  accepted(cid, outcome, now) {
    const entry = this.#remove(cid);
    if (entry === undefined) return;
    this.#refusals = 0;
    this.#ports.done(entry, outcome);
    this.#flow(now);
  }

  /** The server refused it. */
  refused(cid, error, now) {
    const entry = this.#entries.get(cid);
    if (entry === undefined) return;
    // Others in flight are refused along with it: the first refusal decides how long to wait.
    if (!this.#paused) this.#pauseMs = error.retryable ? this.#retryMs(error) : 0;
    this.#paused = true;
    this.#land(cid, entry);
    if (!error.retryable) {
      this.#remove(cid);
      this.#ports.done(entry, { state: 'failed', error });
    }
    this.#flow(now);
  }

  /**
   * Part of the inbox cannot be read any more, so that what was sent may have come back unseen. What is older than the server
   * remembers cids is given up: sending it again could make a second one.
   */
  unsure(oldestMs, error) {
    for (const entry of [...this.#entries.values()]) {
      if (!entry.tried || entry.atMs >= oldestMs) continue;
      this.#remove(entry.cid);
      this.#ports.done(entry, { state: 'failed', error });
    }
  }

  deadline() {
    return this.#resumeAt;
  }

  tick(now) {
    if (this.#resumeAt !== null && this.#resumeAt <= now) this.#flow(now);
  }

  #flow(now) {
    if (!this.#live) return;
    if (this.#paused) {
      // Those in flight are answered first, and may be refused along with it.
      if (this.#inFlight.size > 0) return;
      this.#resumeAt ??= now + this.#pauseMs;
      if (this.#resumeAt > now) return;
      this.#paused = false;
      this.#resumeAt = null;
    }
    const busy = new Set();
    for (const entry of this.#entries.values()) {
      // One at a time in each conversation: whatever becomes of it, the next one cannot overtake it.
      const conversation = `${entry.kind}/${entry.conv}`;
      const isNext = !busy.has(conversation);
      busy.add(conversation);
      if (!isNext || this.#inFlight.has(entry.cid)) continue;
      const size = entry.body.byteLength;
      if (this.#inFlight.size >= IN_FLIGHT_MAX || (this.#inFlight.size > 0 && this.#inFlightBytes + size > IN_FLIGHT_BYTES_MAX)) return;
      this.#inFlight.set(entry.cid, size);
      this.#inFlightBytes += size;
      entry.tried = true;
      this.#ports.send(entry);
    }
  }

  #retryMs(error) {
    const window = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** Math.min(this.#refusals, 16));
    this.#refusals += 1;
    return Math.max(error.retryAfterMs ?? 0, Math.ceil(this.#random() * window));
  }

  #keep(entry) {
    this.#entries.set(entry.cid, entry);
    this.#bytes += entry.body.byteLength;
  }

  #remove(cid) {
    const entry = this.#entries.get(cid);
    if (entry === undefined) return undefined;
    this.#land(cid, entry);
    this.#entries.delete(cid);
    this.#bytes -= entry.body.byteLength;
    return entry;
  }

  #land(cid, entry) {
    if (this.#inFlight.delete(cid)) this.#inFlightBytes -= entry.body.byteLength;
  }
}

/** How an accepted message is told: `reply` is the reply to it, or the message itself as it came back. */
export function acceptedBy(reply) {
  const { id, kind, conv, pos, convPos, flags } = reply;
  return { state: 'accepted', id, kind, conv, pos, convPos, duplicate: Boolean(flags & FLAG.DUPLICATE) };
}
