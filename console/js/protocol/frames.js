// What the page shows of frames, over the SDK's codec: classic ones too, and frames within frames.

import * as sdk from '../sdk/frame.js';
import { CARRIERS } from './tables.js';

export { FrameError, HEADER_CLASSIC, HEADER_EXTENDED, WIDE_FIELDS, decode } from '../sdk/frame.js';

/** Frames within frames: a batch holds pages at most. */
const DEPTH_MAX = 2;

/** What is left out of a frame, when nothing says that it is extended. */
const CLASSIC = { headerLen: sdk.HEADER_CLASSIC, ver: 1 };

/** A frame with everything that is left out set to 0; a body given as text becomes UTF-8. */
export function frame(fields) {
  return sdk.frame({ ...CLASSIC, ...fields });
}

/** Writes a frame; what a classic header cannot say is left out. */
export function encode(fields) {
  return sdk.encode({ ...CLASSIC, ...fields });
}

/** All frames of `bytes`, which must end where a frame ends: `[{frame, size, offset}]`. */
export function decodeAll(bytes, limit = sdk.FRAME_BYTES_MAX) {
  const frames = [];
  for (let offset = 0; offset < bytes.byteLength; ) {
    const next = sdk.decode(bytes, offset, limit);
    if (next === null) throw new sdk.FrameError('cut', `the frame at byte ${offset} is cut off`);
    frames.push({ ...next, offset });
    offset += next.size;
  }
  return frames;
}

/**
 * A WebSocket message as a flat list, a carrier (a batch, a page) before what it carries:
 * `[{frame, bytes, depth, index, count}]`, `index` of `count` within the message or the carrier.
 */
export function decodeMessage(bytes, depth = 0) {
  const frames = decodeAll(bytes);
  return frames.flatMap(({ frame: read, size, offset }, index) => {
    const entry = { frame: read, bytes: bytes.subarray(offset, offset + size), depth, index, count: frames.length };
    const carries = CARRIERS.has(read.op) && read.body.byteLength > 0 && depth < DEPTH_MAX;
    return carries ? [entry, ...decodeMessage(read.body, depth + 1)] : [entry];
  });
}

/** The 32-bit number of a HEARTBEAT_REPLY, or null if the body is none. */
export function decodeInt32(body) {
  if (body.byteLength !== 4) return null;
  return new DataView(body.buffer, body.byteOffset, 4).getInt32(0);
}

/** A limit as the body of SYNC, PULL and HEADS. */
export function encodeUint32(value) {
  const body = new Uint8Array(4);
  new DataView(body.buffer).setUint32(0, value);
  return body;
}

/** The operations of SUB and UNSUB, or null if the text is malformed (one bad entry spoils all). */
export function parseOperations(text) {
  const list = [];
  for (const entry of text.split(',')) {
    if (!/^[+-]?[0-9]+$/.test(entry) || /[\r\n]/.test(entry)) return null;
    const op = Number(entry);
    if (op < -0x8000_0000 || op > 0x7fff_ffff) return null;
    list.push(op);
  }
  return list;
}

/** `conv` of a room's frames: FNV-1a 64 of the room id. */
export function roomHash(room) {
  let hash = 0xcbf2_9ce4_8422_2325n;
  for (const byte of new TextEncoder().encode(room)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100_0000_01b3n);
  }
  return hash;
}
