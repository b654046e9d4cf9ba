// The client rule: every message of the inbox once and in order, whatever the connection does.
//
// `pos` = cursor + 1: apply. Below: drop. Above: keep for half a second at most, then SYNC from the cursor.

import { FLAG } from '../tables.js';

const HOLD_MS = 500;
const HELD_MAX = 256;
const HELD_BYTES_MAX = 1024 * 1024;
/** Messages given to the application and not stored yet; then the inbox waits for it. */
const BACKLOG_MAX = 1000n;
const RETRY_MS = 500;
const RETRY_MS_MAX = 30_000;

/**
 * `ports`: `sync(pos)` asks for a page, `deliver(frame)` gives a message to the application, `moved({epoch, pos})` a cursor
 * that did not come from messages, `reset(…)` says that some may be missing, `live()` that everything is here, and
 * `broken(message)` that the server broke the protocol.
 */
export class Inbox {
  #ports;
  #random;
  #start;
  #epoch;
  #applied;
  #stored;
  #held = new Map();
  #heldBytes = 0;
  #asked = false;
  #due = null;
  #behind = false;
  #refusals = 0;
  /** `off` without a session, `syncing`, `live`, or `none` where the server keeps no messages for us. */
  phase = 'off';
  /** Changes when the cursor jumps; what was delivered before does not count any more. */
  generation = 0;

  /** `cursor`: `{epoch, pos}` as stored, or null on a new device, which begins at `start`: `cursor`, `floor` or `head`. */
  constructor({ cursor, start, random, ports }) {
    this.#ports = ports;
    this.#random = random;
    this.#start = start;
    this.#epoch = cursor?.epoch ?? 0n;
    this.#applied = cursor?.pos ?? 0n;
    this.#stored = this.#applied;
  }

  /** What AUTH says: `{epoch, pos}` that this device has stored, or null if it never had any. */
  get cursor() {
    return this.#epoch === 0n ? null : { epoch: this.#epoch, pos: this.#stored };
  }

  /** A session was let in. `told`: what its AUTH said. */
  begin(told, { epoch, floor, head, cursor }) {
    if (told === null) {
      const oldest = floor > 0n ? floor - 1n : 0n;
      const known = cursor > oldest ? cursor : oldest;
      this.#jump(epoch, { cursor: known, floor: oldest, head }[this.#start]);
    } else if (told.epoch === epoch && told.pos === head && this.#applied === head) {
      this.#reached();
      return;
    }
    this.phase = 'syncing';
    this.#sync();
  }

  /** This session has no inbox: a guest's, or a node's that keeps no messages. */
  without() {
    this.phase = 'none';
    this.#forget();
    this.#ports.live();
  }

  lost() {
    this.phase = 'off';
    this.#forget();
  }

  #forget() {
    this.#held.clear();
    this.#heldBytes = 0;
    this.#asked = false;
    this.#due = null;
    this.#behind = false;
  }

  /** A pushed frame with STORED. */
  pushed(frame, now) {
    if (this.phase === 'off' || this.phase === 'none') return;
    if (frame.pos === this.#applied + 1n) {
      if (!this.#apply(frame)) return;
      this.#unhold();
    } else if (frame.pos > this.#applied) {
      this.#hold(frame, now);
    }
  }

  /** The inbox has a position `head`, says the server. */
  hint(head) {
    if (this.phase === 'live' && head > this.#applied && !this.#asked && !this.#behind) this.#sync();
  }

  /** The page that was asked for. */
  page(reply, frames, now) {
    this.#asked = false;
    this.#refusals = 0;
    const before = this.#applied;
    for (const frame of frames) {
      // Position 0 asks for all there is, and the oldest may be gone.
      if (this.#applied === 0n && frame.pos > 0n) this.#applied = frame.pos - 1n;
      if (frame.pos <= this.#applied) continue;
      if (frame.pos !== this.#applied + 1n) return this.#ports.broken(`a page of SYNC jumps from ${this.#applied} to ${frame.pos}`);
      if (!this.#apply(frame)) return;
    }
    if (reply.flags & FLAG.MORE) {
      if (frames.length === 0 || (this.#applied === before && frames.at(-1).pos <= before)) {
        return this.#ports.broken('a page of SYNC says there is more and brings nothing new');
      }
      return this.#sync();
    }
    // First what was pushed meanwhile: one's own message among it must not go out again.
    this.#unhold();
    if (this.#behind) return;
    this.#reached();
    if (reply.pos > this.#applied || this.#held.size > 0) this.#due ??= now + HOLD_MS;
  }

  /** SYNC was refused. */
  refused(error, now) {
    this.#asked = false;
    if (error.reason === 'TOO_OLD' || error.reason === 'EPOCH_CHANGED') return this.#restart(error);
    if (error.reason === 'UNSUPPORTED' || error.reason === 'PERMISSION_DENIED') return this.without();
    if (!error.retryable) return this.#ports.broken(`SYNC was refused: ${error.message}`);
    const window = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** Math.min(this.#refusals, 16));
    this.#refusals += 1;
    this.#due = now + Math.max(error.retryAfterMs ?? 0, Math.ceil(this.#random() * window));
  }

  /** The application has stored all up to `pos`; it may be that we waited for it. */
  stored(pos, generation) {
    if (generation !== this.generation || pos <= this.#stored) return false;
    this.#stored = pos;
    if (this.#behind && this.#applied - this.#stored <= BACKLOG_MAX / 2n) {
      this.#behind = false;
      if (this.phase !== 'off') this.#sync();
    }
    return true;
  }

  deadline() {
    return this.#due;
  }

  tick(now) {
    if (this.#due === null || this.#due > now) return;
    this.#due = null;
    if (!this.#asked && !this.#behind) this.#sync();
  }

  #sync() {
    this.#due = null;
    this.#asked = true;
    this.#ports.sync(this.#applied);
  }

  #reached() {
    this.phase = 'live';
    this.#ports.live();
  }

  // False: the application is too far behind; what is dropped here comes again by SYNC.
  #apply(frame) {
    if (this.#applied - this.#stored >= BACKLOG_MAX) {
      this.#forget();
      this.#behind = true;
      return false;
    }
    this.#applied = frame.pos;
    this.#ports.deliver(frame);
    return true;
  }

  #hold(frame, now) {
    if (!this.#held.has(frame.pos) && this.#held.size < HELD_MAX && this.#heldBytes + frame.body.byteLength <= HELD_BYTES_MAX) {
      this.#held.set(frame.pos, frame);
      this.#heldBytes += frame.body.byteLength;
    }
    if (!this.#asked && !this.#behind) this.#due ??= now + HOLD_MS;
  }

  // Applies what is next in line, forgets what has passed.
  #unhold() {
    for (let next = this.#held.get(this.#applied + 1n); next !== undefined; next = this.#held.get(this.#applied + 1n)) {
      if (!this.#apply(next)) return;
    }
    for (const [pos, frame] of this.#held) {
      if (pos > this.#applied) continue;
      this.#held.delete(pos);
      this.#heldBytes -= frame.body.byteLength;
    }
    if (this.#held.size === 0) this.#due = null;
  }

  #restart(error) {
    const { detail } = error;
    if (detail.epoch === null || detail.floor === null) return this.#ports.broken(`${error.reason} without its detail`);
    this.#forget();
    this.#jump(detail.epoch, detail.floor > 0n ? detail.floor - 1n : 0n);
    this.#ports.reset({ reason: error.reason, ...detail });
    this.phase = 'syncing';
    this.#sync();
  }

  #jump(epoch, pos) {
    this.#epoch = epoch;
    this.#applied = pos;
    this.#stored = pos;
    this.generation += 1;
    this.#ports.moved({ epoch, pos });
  }
}
