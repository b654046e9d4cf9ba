// The room that the application wants to be in, over any number of sessions, without a silent gap.

import { fnv1a64 } from '../int64.js';
import { FLAG } from '../tables.js';

const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;

/**
 * `ports`: `change({name, pos})` sends CHANGE_ROOM, `deliver(room, frame)`, `joined(room, pos, recovered)`,
 * `gap(room, from, to)` when positions between are lost: the application loads its state again.
 */
export class Room {
  #ports;
  #name = '';
  #hash = 0n;
  #last = 0n;
  #asked = null;
  #session = false;
  #retryAt = null;
  #refusals = 0;

  constructor(ports) {
    this.#ports = ports;
  }

  get name() {
    return this.#name;
  }

  /** Goes to a room (`type://id`), or to none. `last`: the last position seen there, 0 for none. */
  enter(name, last) {
    this.#name = name;
    this.#hash = name === '' ? 0n : fnv1a64(name);
    this.#last = last;
    this.#refusals = 0;
    if (this.#session) this.#change();
  }

  begin() {
    this.#session = true;
    if (this.#name !== '') this.#change();
  }

  lost() {
    this.#session = false;
    this.#asked = null;
    this.#retryAt = null;
  }

  /** A pushed frame of a room. */
  pushed(frame) {
    if (this.#name === '' || frame.conv !== this.#hash) return;
    if (frame.pos === 0n || this.#last === 0n || frame.pos === this.#last + 1n) {
      if (frame.pos !== 0n) this.#last = frame.pos;
      this.#ports.deliver(this.#name, frame);
    } else if (frame.pos > this.#last && this.#asked === null) {
      // The replay brings this one too.
      this.#change();
    }
  }

  /** The reply to the CHANGE_ROOM that `asked` stands for; only the newest counts. */
  changed(reply, asked) {
    if (asked !== this.#asked) return;
    this.#asked = null;
    if (this.#name === '') return;
    this.#refusals = 0;
    const [from, head] = [this.#last, reply.pos];
    const lost = Boolean(reply.flags & FLAG.GONE) || (asked.pos > 0n && from !== head);
    if (asked.pos === 0n && from > 0n && from < head) return this.#change();
    this.#last = head;
    if (lost) this.#ports.gap(this.#name, from, head);
    this.#ports.joined(this.#name, head, asked.pos > 0n && !lost);
  }

  /** CHANGE_ROOM was refused. True if it is tried again, or not wanted any more. */
  refused(error, asked, now) {
    if (asked !== this.#asked) return true;
    this.#asked = null;
    if (!error.retryable) return false;
    const waitMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** Math.min(this.#refusals, 16));
    this.#refusals += 1;
    this.#retryAt = now + Math.max(error.retryAfterMs ?? 0, waitMs);
    return true;
  }

  deadline() {
    return this.#retryAt;
  }

  tick(now) {
    if (this.#retryAt !== null && this.#retryAt <= now) this.#change();
  }

  #change() {
    this.#retryAt = null;
    this.#asked = { name: this.#name, pos: this.#last };
    this.#ports.change(this.#asked);
  }
}
