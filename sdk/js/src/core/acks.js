// ACK, coalesced: one for 50 messages or 200 ms, whichever comes first.

const EVERY_MS = 200;
const EVERY_COUNT = 50n;

export class Acks {
  #told = 0n;
  #stored = 0n;
  #toldAt = -Infinity;

  /** A session began, whose AUTH told `pos`. */
  begin(pos) {
    this.#told = pos;
    this.#stored = pos;
  }

  /** All up to `pos` is stored on this device. */
  stored(pos) {
    if (pos > this.#stored) this.#stored = pos;
  }

  /** The position to tell now, or null. */
  take(now) {
    const due = this.deadline();
    if (due === null || due > now) return null;
    this.#told = this.#stored;
    this.#toldAt = now;
    return this.#told;
  }

  /** When `take` has something, or null. */
  deadline() {
    const waiting = this.#stored - this.#told;
    if (waiting <= 0n) return null;
    return waiting >= EVERY_COUNT ? -Infinity : this.#toldAt + EVERY_MS;
  }
}
