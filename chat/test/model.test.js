// What the chat knows, without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { freshMid, hold, people, remember, tidy } from '../js/identity.js';
import { GROUPS_FROM, Model, isGroup } from '../js/model.js';
import { initials } from '../js/dom.js';
import { socketUrl } from '../js/url.js';

const ME = 1000n;
const PEER = 2000n;

/** A message of the inbox or of a page, as the SDK gives it. */
function message(convPos, from, text, more = {}) {
  const body = JSON.stringify({ text, name: from === ME ? 'Ann' : 'Ben' });
  return { kind: 1, conv: PEER, convPos: BigInt(convPos), id: BigInt(convPos) + 500n, from, cid: BigInt(convPos) + 900n, gone: false, quiet: false, acceptedMs: 1000 * convPos, json: JSON.parse(body), text: body, event: null, ...more };
}

const event = (type, from, fields, more = {}) => message(0, from, '', { kind: 5, event: { type, ...fields }, quiet: true, ...more });

test('messages of pages and of the inbox are one timeline, each once', () => {
  const model = new Model(ME);
  for (const convPos of [7, 8, 9, 8, 3, 9]) model.take(message(convPos, PEER, `m${convPos}`));
  const conversation = model.conversation(1, PEER);
  assert.deepEqual(conversation.items.map(({ convPos }) => convPos), [3n, 7n, 8n, 9n]);
  assert.deepEqual(conversation.shown.map(({ text }) => text), ['m7', 'm8', 'm9'], 'nothing is shown across a hole');
  assert.equal(conversation.oldest, 7n);
  for (const convPos of [4, 5, 6]) model.take(message(convPos, PEER, `m${convPos}`));
  assert.equal(conversation.oldest, 3n);
  assert.equal(model.names.get(PEER), 'Ben');
});

test('unread: what others said above the read position; who writes has read', () => {
  const model = new Model(ME);
  for (const convPos of [1, 2, 3]) model.take(message(convPos, PEER, 'x'));
  model.take(message(4, PEER, 'x', { quiet: true }));
  const conversation = model.conversation(1, PEER);
  assert.equal(conversation.unread(ME), 3);
  model.take(event('read', ME, { conv_pos: 2 }));
  assert.equal(conversation.unread(ME), 1, 'read on another device');
  model.take(event('read', ME, { conv_pos: 1 }));
  assert.equal(conversation.unread(ME), 1, 'it never goes back');
  model.take(message(5, ME, 'answer'));
  assert.equal(conversation.unread(ME), 0);
  model.take(event('read', PEER, { conv_pos: 5 }));
  assert.equal(conversation.peerRead, 5n);
});

test('a message on its way is shown once, whatever comes first', () => {
  const model = new Model(ME);
  const entry = { cid: 901n, kind: 1, conv: PEER, body: new TextEncoder().encode('{"text":"hello","name":"Ann"}'), atMs: 5 };
  const conversation = model.outgoing(entry);
  model.outgoing(entry);
  assert.deepEqual(conversation.pending.map(({ text, state }) => [text, state]), [['hello', 'queued']]);
  model.outbox({ cid: 901n, state: 'sent' });
  assert.equal(conversation.pending[0].state, 'sent');
  model.take(message(1, ME, 'hello'));
  model.outgoing(entry);
  assert.deepEqual([conversation.pending.length, conversation.items.length], [0, 1]);
});

test('a refused one can be taken out again', () => {
  const model = new Model(ME);
  model.outgoing({ cid: 1n, kind: 1, conv: PEER, body: new TextEncoder().encode('{"text":"x"}'), atMs: 5 });
  const conversation = model.outbox({ cid: 1n, state: 'failed', error: { reason: 'BLOCKED' } });
  assert.deepEqual([conversation.pending[0].state, conversation.pending[0].reason], ['failed', 'BLOCKED']);
  assert.equal(model.discard(conversation, 1n).text, 'x');
  assert.equal(conversation.pending.length, 0);
});

test('what was taken back is gone, from an event and from a page', () => {
  const model = new Model(ME);
  model.take(message(1, PEER, 'secret'));
  model.take(event('recall', PEER, { conv_pos: 1, id: '501' }, { convPos: 2n, id: 502n }));
  const [item] = model.conversation(1, PEER).items;
  assert.deepEqual([item.type, item.text], ['gone', '']);
  model.take(message(3, PEER, '', { gone: true, text: '' }));
  assert.deepEqual(model.conversation(1, PEER).shown.map(({ type }) => type), ['gone', 'line', 'gone']);
  assert.equal(model.conversation(1, PEER).unread(ME), 0);
});

test('an event finds its conversation: groups have numbers of their own', () => {
  assert.deepEqual([1n, GROUPS_FROM, GROUPS_FROM - 1n, 2000n].map(isGroup), [true, true, false, false]);
  for (let times = 0; times < 100; times += 1) assert.ok(!isGroup(freshMid()));
  assert.ok(freshMid((words) => words.fill(0xffffffff)) < GROUPS_FROM);
  const model = new Model(ME);
  assert.equal(model.take(event('members', 0n, { add: [1000, 2000] }, { conv: 1n, convPos: 1n })), model.conversation(2, 1n));
});

test('bodies from elsewhere are shown as they are, names are bounded', () => {
  const model = new Model(ME);
  model.take(message(1, PEER, '', { text: 'plain', json: {} }));
  model.take(message(2, PEER, '', { text: '{"text":7}', json: { text: 7, name: 'x'.repeat(100) } }));
  assert.deepEqual(model.conversation(1, PEER).items.map(({ text }) => text), ['plain', '{"text":7}']);
  assert.equal(model.names.get(PEER).length, 40);
});

test('people of this browser are remembered, the last one first; strange storage is none', () => {
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) };
  for (const [mid, name] of [[1n, 'Ann'], [2n, 'Ben'], [1n, 'Anna']]) remember(storage, { mid, name });
  assert.deepEqual(people(storage), [{ mid: 1n, name: 'Anna' }, { mid: 2n, name: 'Ben' }]);
  for (let mid = 10n; mid < 40n; mid += 1n) remember(storage, { mid, name: 'x' });
  assert.equal(people(storage).length, 12);
  for (const strange of ['{', '7', '[{"mid":"x","name":"y"}]', '[{"mid":"1"}]']) {
    assert.deepEqual(people({ getItem: () => strange }), [], strange);
  }
  assert.equal(tidy('  Ann \n Lee  '), 'Ann Lee');
});

test('a person is in one window at a time', async () => {
  const held = new Set();
  const locks = {
    async request(name, options, work) {
      if (held.has(name)) return work(null);
      held.add(name);
      await work({ name });
      held.delete(name);
    },
  };
  const release = await hold(7n, { locks });
  assert.equal(await hold(7n, { locks }), null);
  assert.notEqual(await hold(8n, { locks }), null);
  release();
  await new Promise((resolve) => setTimeout(resolve));
  assert.notEqual(await hold(7n, { locks }), null);
});

test('initials in any script; the socket is where the page is', () => {
  assert.deepEqual(['Ann Lee', 'ben', '小流星', '', '🦊 fox', 'a b c'].map(initials), ['AL', 'B', '小', '?', '🦊F', 'AC']);
  const page = (hostname, protocol = 'http:') => ({ hostname, protocol });
  assert.equal(socketUrl(['127.0.0.1:3102'], page('localhost')), 'ws://127.0.0.1:3102/sub');
  assert.equal(socketUrl(['0.0.0.0:3102'], page('gw.example')), 'ws://gw.example:3102/sub');
  assert.equal(socketUrl(['127.0.0.1:3102'], page('gw.example', 'https:')), 'wss://gw.example:3102/sub');
});
