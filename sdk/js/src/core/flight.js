// What one session has asked and not been answered yet, by `seq`; and its pulse.

const SEQ_MAX = 0x7fff_ffff;

export class Flight {
  #seq = 0;
  #asked = new Map();
  #replyMs;
  #heartbeatMs = null;
  #heartbeatAt = null;

  /** `replyMs`: an answer later than this means that the connection is dead. */
  constructor(replyMs) {
    this.#replyMs = replyMs;
  }

  /** Numbers a request; `purpose` comes back with its answer. */
  ask(purpose, now) {
    this.#seq = this.#seq >= SEQ_MAX ? 1 : this.#seq + 1;
    this.#asked.set(this.#seq, { purpose, until: now + this.#replyMs });
    return this.#seq;
  }

  /** The purpose of the request that `seq` answers, or null. */
  answered(seq) {
    const asked = this.#asked.get(seq);
    this.#asked.delete(seq);
    return asked?.purpose ?? null;
  }

  beat(now, heartbeatMs) {
    this.#heartbeatMs = heartbeatMs;
    this.#heartbeatAt = now + heartbeatMs;
  }

  /** True once for each heartbeat that is due. */
  beatDue(now) {
    if (this.#heartbeatAt === null || this.#heartbeatAt > now) return false;
    this.#heartbeatAt = now + this.#heartbeatMs;
    return true;
  }

  /** Whether an answer is overdue. */
  isDead(now) {
    const first = this.#asked.values().next().value;
    return first !== undefined && first.until <= now;
  }

  deadline() {
    // Insertion order is time order.
    const first = this.#asked.values().next().value?.until ?? Infinity;
    return Math.min(first, this.#heartbeatAt ?? Infinity);
  }
}
