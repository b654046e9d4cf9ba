// What an application sees of a frame.

import { toText } from '../frame.js';
import { readJson } from '../int64.js';
import { FLAG, KIND, KIND_NAMES } from '../tables.js';

/** A message, a notice, an event, a push, a frame of a room: 64-bit fields are BigInt. */
export class Message {
  constructor(frame, idEpochMs = 0) {
    this.id = frame.id;
    this.op = frame.op;
    this.kind = frame.kind;
    this.type = KIND_NAMES[frame.kind] ?? 'unknown';
    this.pos = frame.pos;
    this.conv = frame.conv;
    this.convPos = frame.convPos;
    // Signed again: guests have negative mids.
    this.from = BigInt.asIntN(64, frame.from);
    this.cid = frame.cid;
    this.stored = Boolean(frame.flags & FLAG.STORED);
    this.gone = Boolean(frame.flags & FLAG.GONE);
    this.quiet = Boolean(frame.flags & FLAG.QUIET);
    this.acceptedMs = frame.id === 0n ? 0 : Number(frame.id >> 22n) + idEpochMs;
    // A copy: the frame is a view into a whole page.
    this.body = frame.body.slice();
    this.event = frame.kind === KIND.EVENT && !this.gone ? readJson(this.text) : null;
  }

  /** The body as UTF-8. */
  get text() {
    return toText(this.body);
  }

  /** The body as a JSON object; empty if it is none. */
  get json() {
    return readJson(this.text);
  }
}
