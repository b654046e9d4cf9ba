// The codec: bytes ⇄ frames. Pure; the only file that knows offsets.

import { OP } from './tables.js';

export const HEADER_CLASSIC = 16;
export const HEADER_EXTENDED = 72;
const HEADER_MAX = 256;
/** Bytes after which a frame's lengths are known. */
const LENGTHS = 6;
/** No frame from a server is longer than this. */
export const FRAME_BYTES_MAX = 2 * 1024 * 1024;

/** The 64-bit fields, in the order in which they stand from offset 16 on. */
export const WIDE_FIELDS = ['id', 'pos', 'conv', 'convPos', 'from', 'cid'];
const NOTHING = new Uint8Array();
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes that are no frame. `fault`: `header_len`, `package_len`, `too_large` or `cut`. */
export class FrameError extends Error {
  constructor(fault, message) {
    super(message);
    this.name = 'FrameError';
    this.fault = fault;
  }
}

/** UTF-8 of a text; bytes as they are. */
export function toBytes(body) {
  if (typeof body === 'string') return encoder.encode(body);
  if (body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  throw new TypeError('a body is a string, a Uint8Array or an ArrayBuffer');
}

/** The text of bytes; what is not UTF-8 becomes U+FFFD. */
export function toText(bytes) {
  return decoder.decode(bytes);
}

/** A frame with everything that is left out set to 0. */
export function frame(fields) {
  const { body = NOTHING, ...rest } = fields;
  return {
    headerLen: HEADER_EXTENDED,
    ver: 2,
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
    body: toBytes(body),
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
export function decode(bytes, offset = 0, limit = FRAME_BYTES_MAX) {
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

/** Writes a frame; what a classic header cannot say is left out. Throws RangeError for a 64-bit field that does not fit. */
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
      // DataView would cut it silently.
      if (written[name] < 0n || written[name] >> 64n !== 0n) throw new RangeError(`${name} is not an unsigned 64-bit number`);
      view.setBigUint64(16 + 8 * index, written[name]);
    });
    view.setUint16(64, written.kind);
    view.setUint16(66, written.flags);
  }
  bytes.set(body, headerLen);
  return bytes;
}

/** The frames of `bytes`, which must end where a frame ends; those in a batch (op 9) in its place. */
export function decodeAll(bytes, limit = FRAME_BYTES_MAX, inner = false) {
  const frames = [];
  for (let offset = 0; offset < bytes.byteLength; ) {
    const next = decode(bytes, offset, limit);
    if (next === null) throw new FrameError('cut', `the frame at byte ${offset} is cut off`);
    if (next.frame.op === OP.RAW && !inner) frames.push(...decodeAll(next.frame.body, limit, true));
    else frames.push(next.frame);
    offset += next.size;
  }
  return frames;
}
