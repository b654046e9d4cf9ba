import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { buildPush, curl, describe } from '../js/push.js';

const form = (fields) => ({ kind: 'mids', target: '7', op: '1000', body: 'hello', ...fields });

test('each target', () => {
  assert.equal(buildPush(form({ target: '7, -8 9223372036854775807' })), '{"to":{"mids":[7,-8,9223372036854775807]},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'keys', target: 'a,b' })), '{"to":{"keys":["a","b"]},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'room', target: ' live://1000 ' })), '{"to":{"room":"live://1000"},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'all', target: 'whatever' })), '{"to":{"all":true},"op":1000,"body":"hello"}');
});

test('what cannot be sent is told before it is', () => {
  const wrong = [{ target: '' }, { target: 'x' }, { target: '1.5' }, { target: '007' }, { op: '' }, { op: '2147483648' }];
  for (const fields of [...wrong, { kind: 'keys', target: ' ' }, { kind: 'room', target: 'live' }]) {
    assert.throws(() => buildPush(form(fields)), Error, JSON.stringify(fields));
  }
});

test('the command survives a shell', () => {
  const json = buildPush(form({ body: `it's "$HOME" \`id\` \\ !\n☄` }));
  const command = curl('http://127.0.0.1:3111', json).replace('curl', 'printf "%s\\n"');
  const seen = execFileSync('sh', ['-c', command]).toString();
  assert.ok(seen.endsWith(`-d\n${json}\n`), seen);
});

test('answers in one line', () => {
  assert.deepEqual(describe(true, 202, { id: '12', recipients: 1, duplicate: true }), {
    good: true,
    words: 'Accepted as 12, 1 recipient online, accepted before',
  });
  const problem = { title: 'Bad request', detail: 'op: too low', reason: 'BAD_REQUEST', status: 400 };
  assert.deepEqual(describe(false, 400, problem), { good: false, words: '400 BAD_REQUEST: op: too low' });
  assert.deepEqual(describe(false, 502, null), { good: false, words: '502' });
});
