// When to connect again: full jitter, the server's advice, and never after "do not come back".

import { comesBack } from '../tables.js';

/** A loss after so long a good time is the first one: once it may be tried within a second. */
const LONG_MS = 60_000;
const FIRST_MS = 1_000;
const CAP_MS = 60_000;
const DEFAULT_MS = 10_000;

export class Reconnect {
  #random;
  #windowMs = DEFAULT_MS;
  #losses = 0;
  #liveAt = null;

  /** `random()` in [0, 1). */
  constructor(random) {
    this.#random = random;
  }

  /** A session was let in; the server may have said how widely to spread. */
  live(now, reconnectMs) {
    this.#liveAt = now;
    if (Number.isFinite(reconnectMs) && reconnectMs > 0) this.#windowMs = reconnectMs;
  }

  /** A connection was lost or not made: how long to wait, ms, or null for "stay away". */
  lost(now, code, retryAfterMs = null) {
    if (this.#liveAt !== null && now - this.#liveAt >= LONG_MS) this.#losses = 0;
    this.#liveAt = null;
    if (!comesBack(code)) return null;
    const losses = this.#losses;
    this.#losses += 1;
    return Math.floor(this.#random() * this.#window(losses, retryAfterMs));
  }

  #window(losses, retryAfterMs) {
    if (losses === 0) return retryAfterMs ?? FIRST_MS;
    const grown = Math.min(Math.max(CAP_MS, this.#windowMs), this.#windowMs * 2 ** Math.min(losses - 1, 20));
    return Math.max(grown, retryAfterMs ?? 0);
  }
}
