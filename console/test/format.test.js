import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../js/format.js';
import { extendedFields, preview } from '../js/widgets/frame-list.js';
import { frame } from '../js/protocol/frames.js';

const bytes = (text) => new TextEncoder().encode(text);

test('numbers', () => {
  assert.equal(format.count(999_999), '999,999');
  assert.equal(format.count(1_234_567), '1.23M');
  assert.deepEqual([0, 0.01, 0.5, 9.96, 12.4, null].map(format.rate), ['0', '<0.1', '0.5', '10', '12', '–']);
  assert.deepEqual([0, 1023, 1024, 67_108_864].map(format.bytes), ['0 B', '1,023 B', '1.00 KiB', '64.0 MiB']);
  assert.deepEqual([0, 0.5, 1500, 2_000_000].map(format.tick), ['0', '0.5', '1.5K', '2M']);
});

test('durations', () => {
  assert.deepEqual(
    [0, 999, 61_000, 3_600_000, 90_061_000].map(format.duration),
    ['0s', '0s', '1m 1s', '1h', '1d 1h'],
  );
});

test('moments name the year if it is another', () => {
  const ms = new Date(2026, 4, 6, 7, 8, 9).getTime();
  assert.equal(format.moment(ms, new Date(2026, 0, 1).getTime()), 'May 6, 07:08:09');
  assert.equal(format.moment(ms, new Date(2027, 0, 1).getTime()), 'May 6, 2026, 07:08:09');
  assert.equal(format.moment(1e300), '–', 'no date at all');
});

test('numbers in Chinese', () => {
  format.setLocale('zh-CN');
  try {
    assert.equal(format.count(1_234_567), '123万');
    assert.equal(format.duration(90_061_000), '1天1小时');
    assert.equal(format.bytes(67_108_864), '64.0 MiB');
  } finally {
    format.setLocale('en-US');
  }
});

test('percent, times, axes of bytes', () => {
  assert.deepEqual([0, 3.14, 187.6, null].map(format.percent), ['0 %', '3.1 %', '188 %', '–']);
  assert.deepEqual([0.04, 9.96, 12.4, 1500, null].map(format.milliseconds), ['0 ms', '10 ms', '12 ms', '1.5 s', '–']);
  assert.deepEqual([0, 512, 1536, 100 * 1024 ** 2].map(format.byteTick), ['0', '512', '1.5 K', '100 M']);
});

test('hex view', () => {
  assert.equal(
    format.hexDump(bytes('hello, perseids!\n')),
    '0000  68 65 6c 6c 6f 2c 20 70  65 72 73 65 69 64 73 21  hello, perseids!\n' +
      '0010  0a                                                ·',
  );
});

test('text or not', () => {
  assert.equal(format.asText(bytes('群 ☄\t\n')), '群 ☄\t\n');
  assert.equal(format.asText(new Uint8Array([0xff, 0x80])), null);
  assert.equal(format.asText(new Uint8Array([0x61, 0x00])), null);
});

test('JSON is laid out without touching a digit', () => {
  assert.equal(
    format.asJson('{"id":9007199254740993,"a":[1,{}],"s":"{,\\":]"}'),
    '{\n  "id": 9007199254740993,\n  "a": [\n    1,\n    {}\n  ],\n  "s": "{,\\":]"\n}',
  );
  assert.equal(format.asJson('{"a":'), null);
  assert.equal(format.asJson('17'), null);
});

test('extended fields: only those that say something', () => {
  assert.deepEqual(extendedFields(frame({ op: 1000 })), []);
  const fields = { headerLen: 72, kind: 4, conv: 0xb6b2413c7f98bfbcn, from: 18_446_744_073_709_551_611n, flags: 3 };
  assert.deepEqual(extendedFields(frame(fields)), [
    ['kind', 'room'],
    ['conv', '0xb6b2413c7f98bfbc'],
    ['from', '-5'],
    ['flags', 'STORED MORE'],
  ]);
});

test('a body in one line', () => {
  const seen = (body, op = 1000, bodySize = body.byteLength) => preview({ ...frame({ op, body }), bodySize }).words;
  assert.equal(seen(bytes('two\n  lines')), 'two lines');
  assert.equal(seen(new Uint8Array([0, 255])), '00 ff');
  assert.equal(seen(new Uint8Array([0, 0, 0, 3]), 3), '3 online');
  assert.equal(seen(bytes('')), 'no body');
  assert.equal(seen(bytes('流星').subarray(0, 5), 1000, 6), '流', 'cut within a character');
});
