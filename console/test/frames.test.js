import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as codec from '../js/protocol/frames.js';
import { CLOSE_REASONS, comesBack, flagNames, OP, operationName } from '../js/protocol/tables.js';
import { bodyOf, tohex, unhex, vectors } from './support/vectors.js';

const NO_EXTENDED = { id: 0n, pos: 0n, conv: 0n, convPos: 0n, from: 0n, cid: 0n, kind: 0, flags: 0 };

/** The frame that a vector describes. */
function expected(vector) {
  const wide = (name) => BigInt(vector[name] ?? 0);
  const extended = { id: wide('id'), pos: wide('pos'), conv: wide('conv'), convPos: wide('conv_pos'), from: wide('from'), cid: wide('cid') };
  const { header_len: headerLen = 16, ver, op, seq, kind = 0, flags = 0 } = vector;
  return { headerLen, ver, op, seq, ...NO_EXTENDED, ...extended, kind, flags, body: bodyOf(vector) };
}

// A view into a larger buffer, as frames come out of batches: offsets must be those of the view.
function shifted(bytes) {
  const larger = new Uint8Array(bytes.byteLength + 7).fill(0xee);
  larger.set(bytes, 5);
  return larger.subarray(5, 5 + bytes.byteLength);
}

for (const file of ['classic', 'goim', 'extended']) {
  for (const vector of vectors(file)) {
    test(`${file}: ${vector.name}`, () => {
      const bytes = shifted(unhex(vector.hex));
      const { frame, size } = codec.decode(bytes);
      assert.equal(size, bytes.byteLength);
      assert.deepEqual({ ...frame, body: new Uint8Array(frame.body) }, expected(vector));
      if (!vector.decode_only) assert.equal(tohex(codec.encode(expected(vector))), vector.hex);
      for (let cut = 0; cut < bytes.byteLength; cut += 1) {
        assert.equal(codec.decode(bytes.subarray(0, cut)), null, `cut at ${cut}`);
      }
    });
  }
}

for (const vector of vectors('raw')) {
  test(`raw: ${vector.name}`, () => {
    const [outer, ...inner] = codec.decodeMessage(unhex(vector.hex));
    assert.equal(outer.frame.op, OP.RAW);
    assert.equal(tohex(outer.frame.body), vector.inner_hex);
    assert.deepEqual(
      inner.map(({ frame, depth }) => ({ ver: frame.ver, op: frame.op, seq: frame.seq, body: tohex(frame.body), depth })),
      vector.frames.map((frame) => ({ ver: frame.ver, op: frame.op, seq: frame.seq, body: tohex(bodyOf(frame)), depth: 1 })),
    );
    assert.equal(inner.map(({ bytes }) => tohex(bytes)).join(''), vector.inner_hex);
  });
}

for (const vector of vectors('push')) {
  test(`push: ${vector.name}`, () => {
    const messages = ['classic_tcp_hex', 'classic_ws_hex', 'extended_hex'].map((form) => codec.decodeMessage(unhex(vector[form])).at(-1).frame);
    for (const frame of messages) {
      assert.equal(frame.op, vector.op);
      assert.equal(tohex(frame.body), tohex(bodyOf(vector)));
    }
    const { id, kind, from, conv } = messages[2];
    assert.deepEqual([id, kind, from, conv], [BigInt(vector.id), vector.kind, BigInt(vector.from), BigInt(vector.conv)]);
  });
}

for (const vector of vectors('invalid')) {
  test(`invalid: ${vector.name}`, () => {
    const bytes = unhex(vector.hex);
    assert.throws(() => codec.decode(bytes, 0, vector.limit), { name: 'FrameError', fault: vector.error });
    assert.throws(() => codec.decode(bytes.subarray(0, 6), 0, vector.limit), { fault: vector.error }, 'at the sixth byte');
    assert.equal(codec.decode(bytes.subarray(0, 5), 0, vector.limit), null, 'not before');
  });
}

for (const vector of vectors('operations')) {
  test(`operations: ${vector.name}`, () => assert.deepEqual(codec.parseOperations(vector.body_text), vector.list));
}

for (const vector of vectors('rooms')) {
  test(`rooms: ${vector.name}`, () => assert.equal(codec.roomHash(vector.room), BigInt(vector.conv)));
}

for (const vector of vectors('disconnect')) {
  test(`disconnect: ${vector.name}`, () => {
    assert.equal(CLOSE_REASONS.get(vector.code), vector.reason);
    assert.equal(comesBack(vector.code), vector.comes_back);
  });
}

test('every close code has a vector', () => {
  assert.deepEqual([...CLOSE_REASONS.keys()].sort(), vectors('disconnect').map(({ code }) => code).sort());
});

test('several frames in one message, the last one cut', () => {
  const whole = Buffer.concat([codec.encode({ op: 1000, body: 'a' }), codec.encode({ op: 1001, body: 'b' })]);
  assert.deepEqual(codec.decodeMessage(whole).map(({ frame, index, count }) => [frame.op, index, count]), [[1000, 0, 2], [1001, 1, 2]]);
  assert.throws(() => codec.decodeMessage(whole.subarray(0, -1)), { fault: 'cut' });
});

test('a batch in a batch in a batch is opened only so far', () => {
  let bytes = codec.encode({ op: 1000, body: 'x' });
  for (let level = 0; level < 50; level += 1) bytes = codec.encode({ op: OP.RAW, body: bytes });
  assert.equal(codec.decodeMessage(bytes).length, 3);
});

test('names', () => {
  assert.equal(operationName(7), 'AUTH');
  assert.equal(operationName(1000), 'PUSH');
  assert.equal(operationName(33), 'UPSTREAM');
  assert.equal(operationName(-5), 'UPSTREAM');
  assert.deepEqual(flagNames(0b10_0011), ['STORED', 'MORE', 'QUIET']);
  assert.deepEqual(flagNames(0x41), ['STORED', '0x40']);
});
