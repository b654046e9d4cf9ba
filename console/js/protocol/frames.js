// The codec: bytes ⇄ frames. Pure; the only file that knows offsets.

import { CARRIERS } from './tables.js';

export const HEADER_CLASSIC = 16;
export const HEADER_EXTENDED = 72;
const HEADER_MAX = 256;
/** Bytes after which a frame's lengths are known. */
const LENGTHS = 6;
/** No frame from a server is longer than this. */
export const FRAME_MAX = 2 * 1024 * 1024;
/** Frames within frames: a batch holds pages at most. */
const DEPTH_MAX = 2;

/** Names of the 64-bit fields, in the order in which they stand from offset 16 on. */
export const WIDE_FIELDS = ['id', 'pos', 'conv', 'convPos', 'from', 'cid'];

/** Bytes that are no frame. `error`: `header_len`, `package_len`, `too_large` or `cut`. */
export class FrameError extends Error {
  constructor(error, message) {
    super(message);
    this.name = 'FrameError';
    this.error = error;
  }
}

/** A frame with everything that is left out set to 0; a body given as text becomes UTF-8. */
export function frame(fields) {
  const { body = new Uint8Array(), ...rest } = fields;
  return {
    headerLen: HEADER_CLASSIC,
    ver: 1,
    op: 0,
    seq: 0,
    id: 0n,
    pos: 0n,
    conv: 0n,
    convPos: 0n,
    from: 0n,
    cid: 0n,
    kind: 0,
    flags: 0,
    ...rest,
    body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
  };
}

/**
 * The lengths of the frame that begins at `offset`, or null if more bytes are needed to know them.
 * A body above `limit` bytes is refused here, before anything waits for it.
 */
function lengths(view, offset, limit) {
  if (view.byteLength - offset < LENGTHS) return null;
  const headerLen = view.getUint16(offset + 4);
  if (headerLen !== HEADER_CLASSIC && (headerLen < HEADER_EXTENDED || headerLen > HEADER_MAX)) {
    throw new FrameError('header_len', `header_len ${headerLen} is neither 16 nor 72 to 256`);
  }
  const packageLen = view.getInt32(offset);
  if (packageLen < headerLen) {
    throw new FrameError('package_len', `package_len ${packageLen} is below header_len ${headerLen}`);
  }
  if (packageLen - headerLen > limit) {
    throw new FrameError('too_large', `a body of ${packageLen - headerLen} bytes is above the limit of ${limit}`);
  }
  return { headerLen, packageLen };
}

/**
 * Reads the frame at `offset`: `{frame, size}`, or null if it is not all there yet. The body is a view into `bytes`.
 * Throws FrameError if no bytes to come could make it a frame.
 */
export function decode(bytes, offset = 0, limit = FRAME_MAX) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const known = lengths(view, offset, limit);
  if (known === null || view.byteLength - offset < known.packageLen) return null;
  const { headerLen, packageLen } = known;
  const read = frame({
    headerLen,
    ver: view.getUint16(offset + 6),
    op: view.getInt32(offset + 8),
    seq: view.getInt32(offset + 12),
    body: bytes.subarray(offset + headerLen, offset + packageLen),
  });
  if (headerLen >= HEADER_EXTENDED) {
    WIDE_FIELDS.forEach((name, index) => {
      read[name] = view.getBigUint64(offset + 16 + 8 * index);
    });
    read.kind = view.getUint16(offset + 64);
    read.flags = view.getUint16(offset + 66);
  }
  return { frame: read, size: packageLen };
}

/** Writes a frame; what a classic header cannot say is left out. */
export function encode(fields) {
  const written = frame(fields);
  const { headerLen, body } = written;
  const bytes = new Uint8Array(headerLen + body.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.byteLength);
  view.setUint16(4, headerLen);
  view.setUint16(6, written.ver);
  view.setInt32(8, written.op);
  view.setInt32(12, written.seq);
  if (headerLen >= HEADER_EXTENDED) {
    WIDE_FIELDS.forEach((name, index) => {
      view.setBigUint64(16 + 8 * index, written[name]);
    });
    view.setUint16(64, written.kind);
    view.setUint16(66, written.flags);
  }
  bytes.set(body, headerLen);
  return bytes;
}

/** All frames of `bytes`, which must end where a frame ends: `[{frame, size, offset}]`. */
export function decodeAll(bytes, limit = FRAME_MAX) {
  const frames = [];
  for (let offset = 0; offset < bytes.byteLength; ) {
    const next = decode(bytes, offset, limit);
    if (next === null) throw new FrameError('cut', `the frame at byte ${offset} is cut off`);
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
