import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { buildPush, curl, describe } from '../js/views/push-form.js';

const form = (fields) => ({ kind: 'mids', target: '7', op: '1000', body: 'hello', ...fields });

test('each target', () => {
  assert.equal(buildPush(form({ target: '7, 8 9223372036854775807' })), '{"to":{"mids":[7,8,9223372036854775807]},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'keys', target: 'a,b' })), '{"to":{"keys":["a","b"]},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'room', target: ' live://1000 ' })), '{"to":{"room":"live://1000"},"op":1000,"body":"hello"}');
  assert.equal(buildPush(form({ kind: 'all', target: 'whatever' })), '{"to":{"all":true},"op":1000,"body":"hello"}');
});

test('what cannot be sent is told before it is', () => {
  const wrong = [{ target: '' }, { target: 'x' }, { target: '-8' }, { target: '0' }, { target: '1.5' }, { target: '007' }, { op: '' }, { op: '2147483648' }];
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

test('the optional fields', () => {
  const all = buildPush(form({ kind: 'all', body: 'AA\nH/', encoding: 'base64', id: 'order-17', ttl: ' 5000 ', speed: '100' }));
  assert.equal(all, '{"to":{"all":true},"op":1000,"body_base64":"AAH/","id":"order-17","ttl_ms":5000,"speed":100}');
  assert.equal(buildPush(form({ speed: '100' })).includes('speed'), false, 'a pace is for all only');
  const wrong = [{ encoding: 'base64', body: 'A' }, { encoding: 'base64', body: 'AA=A' }, { id: 'x'.repeat(65) }, { id: '群'.repeat(22) }, { id: 'a\tb' }, { ttl: '0' }, { ttl: '1.5' }, { ttl: '-1' }, { kind: 'all', speed: 'x' }];
  for (const fields of wrong) {
    assert.throws(() => buildPush(form(fields)), (error) => typeof error.field === 'string' && error.message.length > 10, JSON.stringify(fields));
  }
});

test('the command asks for the token where it is run, and never holds it', () => {
  assert.match(curl('http://n', '{}', true), /-H "authorization: Bearer \$PERSEID_TOKEN"/);
  assert.doesNotMatch(curl('http://n', '{}', false), /authorization/);
});

test('answers in one line', () => {
  assert.equal(describe({ id: '12', recipients: 1, duplicate: true }), 'Accepted as 12 · 1 recipient · accepted before, not sent again');
  assert.equal(describe({ id: '12', recipients: 1500 }), 'Accepted as 12 · 1,500 recipients');
  assert.equal(describe(null), 'Accepted as ?');
});
