// The codec against the golden vectors of the protocol, the same that the Rust codec is tested against.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import * as codec from '../src/frame.js';
import { refused } from '../src/errors.js';
import { fnv1a64, i64, mintCid, u64 } from '../src/int64.js';
import { comesBack } from '../src/tables.js';

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${name}.json`, import.meta.url), 'utf8'));
const unhex = (digits) => new Uint8Array(Buffer.from(digits, 'hex'));
const tohex = (bytes) => Buffer.from(bytes).toString('hex');
const bodyOf = (vector) => (vector.body_hex === undefined ? new TextEncoder().encode(vector.body_text) : unhex(vector.body_hex));

function expected(vector) {
  const wide = (name) => BigInt(vector[name] ?? 0);
  const { header_len: headerLen = 16, ver, op, seq, kind = 0, flags = 0 } = vector;
  const longs = { id: wide('id'), pos: wide('pos'), conv: wide('conv'), convPos: wide('conv_pos'), from: wide('from'), cid: wide('cid') };
  return { headerLen, ver, op, seq, ...longs, kind, flags, body: bodyOf(vector) };
}

// A view into a larger buffer, as frames come out of pages: offsets must be those of the view.
function shifted(bytes) {
  const larger = new Uint8Array(bytes.byteLength + 7).fill(0xee);
  larger.set(bytes, 5);
  return larger.subarray(5, 5 + bytes.byteLength);
}

for (const file of ['classic', 'goim', 'extended']) {
  test(`vectors of ${file}: decoded, encoded, cut at every byte`, () => {
    for (const vector of vectors(file)) {
      const bytes = shifted(unhex(vector.hex));
      const { frame, size } = codec.decode(bytes);
      assert.equal(size, bytes.byteLength, vector.name);
      assert.deepEqual({ ...frame, body: new Uint8Array(frame.body) }, expected(vector), vector.name);
      if (!vector.decode_only) assert.equal(tohex(codec.encode(expected(vector))), vector.hex, vector.name);
      for (let cut = 0; cut < bytes.byteLength; cut += 1) assert.equal(codec.decode(bytes.subarray(0, cut)), null, `${vector.name} cut at ${cut}`);
    }
  });
}

test('what is no frame is refused at its sixth byte', () => {
  for (const vector of vectors('invalid')) {
    const bytes = unhex(vector.hex);
    for (let cut = 6; cut <= bytes.byteLength; cut += 1) {
      assert.throws(() => codec.decode(bytes.subarray(0, cut), 0, Number(vector.limit)), { fault: vector.error }, vector.name);
    }
    assert.equal(codec.decode(bytes.subarray(0, 5), 0, Number(vector.limit)), null);
    assert.equal(comesBack(Number(vector.code)), false);
  }
});

test('wrappers are unwrapped, pushes are read in every form', () => {
  for (const vector of vectors('raw')) {
    const inner = codec.decodeAll(unhex(vector.hex));
    assert.deepEqual(inner.map(({ op, body }) => [op, tohex(body)]), vector.frames.map((frame) => [frame.op, tohex(bodyOf(frame))]));
  }
  for (const vector of vectors('push')) {
    for (const form of ['classic_tcp_hex', 'classic_ws_hex', 'extended_hex']) {
      const [frame, ...more] = codec.decodeAll(unhex(vector[form]));
      assert.equal(more.length, 0);
      assert.deepEqual([frame.op, tohex(frame.body)], [vector.op, tohex(bodyOf(vector))], vector.name);
    }
  }
});

test('a frame cut off, or a wrapper in a wrapper, ends nowhere', () => {
  const bytes = codec.encode({ op: 9, body: codec.encode({ op: 1000, body: 'x' }) });
  assert.throws(() => codec.decodeAll(bytes.subarray(0, bytes.length - 1)), { fault: 'cut' });
  let deep = codec.encode({ op: 1000 });
  for (let depth = 0; depth < 500; depth += 1) deep = codec.encode({ op: 9, headerLen: 16, body: deep });
  assert.deepEqual(codec.decodeAll(deep).map(({ op }) => op), [9], 'unwrapped once, not without end');
});

test('a number that does not fit is not cut silently', () => {
  for (const pos of [-1n, 1n << 64n]) assert.throws(() => codec.encode({ pos }), RangeError);
  assert.equal(codec.decode(codec.encode({ pos: (1n << 64n) - 1n })).frame.pos, (1n << 64n) - 1n);
});

test('rooms have their hashes', () => {
  for (const { room, conv } of vectors('rooms')) assert.equal(fnv1a64(room), BigInt(conv), room);
});

test('errors and codes of the vectors are understood', () => {
  for (const { name, code, reason } of vectors('disconnect')) {
    assert.equal(comesBack(code), code < 4500, name);
    assert.match(reason, /^[A-Z_]+$/);
  }
  const retried = new Set(['RATE_LIMITED', 'UNAVAILABLE', 'UNKNOWN']);
  for (const vector of vectors('error')) {
    const { json } = vector;
    const error = refused(json);
    assert.deepEqual([error.reason, error.code, error.retryable], [json.reason, json.code, retried.has(json.reason)], vector.name);
    assert.equal(error.retryAfterMs, json.retry_after_ms ?? null);
  }
});

test('64-bit numbers come in three forms and lose nothing', () => {
  assert.equal(u64('18446744073709551615'), (1n << 64n) - 1n);
  assert.equal(u64(7), 7n);
  assert.equal(i64('-9223372036854775808'), -(1n << 63n));
  for (const wrong of [2 ** 53, 1.5, NaN, -1, '', '1e3', '0x1', '18446744073709551616', null, undefined, {}]) {
    assert.throws(() => u64(wrong), TypeError, String(wrong));
  }
  assert.throws(() => i64(1n << 63n), TypeError);
});

test('cids have 63 bits and are never 0', () => {
  assert.equal(mintCid((words) => words.fill(0)), 1n);
  assert.equal(mintCid((words) => words.fill(0xffffffff)) >> 63n, 0n);
  const minted = new Set(Array.from({ length: 1000 }, () => mintCid()));
  assert.equal(minted.size, 1000);
});
