import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bytesOf, messageOf, PAGE_SIZE, pageUpTo, progressOf, readPage, timeOf } from '../js/stored.js';
import { devicesOf, inboxOf } from '../js/views/inbox.js';
import { parseGroup } from '../js/views/groups.js';
import { firstLine } from '../js/widgets/message-body.js';
import { linkOf } from '../js/widgets/messages.js';

const base64 = (text) => Buffer.from(text).toString('base64');

test('the time is in the id', () => {
  assert.equal(timeOf('0'), Date.UTC(2024, 0, 1));
  assert.equal(timeOf(String((1000n << 22n) + 4_194_303n)), Date.UTC(2024, 0, 1, 0, 0, 1));
  for (const wrong of ['', '-1', '1e3', 'x', '9'.repeat(21)]) assert.equal(timeOf(wrong), null, wrong);
});

test('a message is read with care, whatever it holds', () => {
  const id = String(1000n << 22n);
  const read = messageOf({ id, pos: 3, op: 1000, kind: 1, conv: 8, conv_pos: 2, from: 7, cid: '5', flags: 33, body_base64: base64('群 <b>') });
  const { bytes, ...rest } = read;
  assert.equal(bytes.byteLength, 7);
  assert.deepEqual(rest, {
    id, timeMs: Date.UTC(2024, 0, 1, 0, 0, 1), pos: 3, convPos: 2, op: 1000, kind: 'direct', conv: { kind: 'direct', id: 8 }, from: 7, event: '', body: '群 <b>', gone: false, quiet: true,
  });
  assert.equal(messageOf({ body_base64: '/w==' }).body, null, 'bytes that are no text');
  assert.equal(messageOf({ body_base64: '*' }).bytes, null, 'no base64');
  assert.equal(messageOf({ flags: 5 }).gone, true);
  const strange = messageOf({ id: 7, pos: -1, op: 'x', kind: 99, conv: 2 ** 60, from: null, flags: '4', body_base64: 7 });
  assert.deepEqual([strange.id, strange.pos, strange.op, strange.kind, strange.conv.id, strange.from, strange.gone], ['', 0, 0, null, 0, 0, false]);
  assert.equal(bytesOf('').byteLength, 0);
});

test('an event is about the conversation that its body tells', () => {
  const event = (body, kind = 5) => messageOf({ kind, conv: 42, body_base64: base64(body) });
  assert.deepEqual(event('{"type":"members","kind":2}').conv, { kind: 'group', id: 42 });
  assert.equal(event('{"type":"members","kind":2}').event, 'members');
  for (const body of ['', '{', 'null', '7', '[]', '{"kind":"2","type":9}', '{"kind":"length"}']) {
    assert.deepEqual([event(body).conv, event(body).event], [{ kind: null, id: 42 }, ''], body);
  }
  assert.equal(event('{"type":"members","kind":2}', 1).event, '', 'what a user wrote is no event');
});

test('links lead to users and groups only', () => {
  assert.deepEqual(linkOf({ kind: 'direct', id: 8 }), { words: '8', href: '#/users/8' });
  assert.deepEqual(linkOf({ kind: 'channel', id: 42 }), { words: '42', href: '#/groups/42' });
  assert.equal(linkOf({ kind: null, id: 42 }).href, null);
  assert.deepEqual(linkOf({ kind: null, id: 0 }), { words: '–', href: null });
});

test('how far a device is', () => {
  const inbox = { head: 100, floor: 41 };
  assert.deepEqual(progressOf(inbox, 100), { behind: 0, lost: 0 });
  assert.deepEqual(progressOf(inbox, 40), { behind: 60, lost: 0 });
  assert.deepEqual(progressOf(inbox, 10), { behind: 90, lost: 30 });
  assert.deepEqual(progressOf({ head: 100, floor: 101 }, 90), { behind: 10, lost: 10 }, 'nothing is kept');
  assert.deepEqual(progressOf({ head: 0, floor: 1 }, 5), { behind: 0, lost: 0 });
  const devices = [{ device_id: 'a', cursor: 100 }, { device_id: 'web', cursor: 20 }];
  const sessions = [{ device_id: '', platform: 'web' }];
  assert.deepEqual(devicesOf({ devices, sessions }, inbox).map(({ device_id, behind, connected }) => [device_id, behind, connected]), [['web', 80, true], ['a', 0, false]]);
  assert.equal(inboxOf({ sessions: [] }), null, 'a node that keeps nothing tells of no inbox');
});

test('pages are ranges of positions, full as long as enough is kept', () => {
  const kept = { head: 100, floor: 31 };
  assert.deepEqual(pageUpTo(Infinity, kept), { first: 81, last: 100 });
  assert.deepEqual(pageUpTo(80, kept), { first: 61, last: 80 });
  assert.deepEqual(pageUpTo(40, kept), { first: 31, last: 50 }, 'the oldest page is full');
  assert.deepEqual(pageUpTo(-5, kept), { first: 31, last: 50 });
  assert.deepEqual(pageUpTo(5, { head: 7, floor: 1 }), { first: 1, last: 7 });
  assert.equal(pageUpTo(Infinity, { head: 0, floor: 1 }), null);
  assert.equal(pageUpTo(Infinity, { head: 9, floor: 10 }), null);
});

// A node with positions `floor` to `head`, which gives at most `most` at once.
function node({ head, floor, most = 200 }) {
  const asked = [];
  const get = async (path) => {
    const query = new URL(path, 'http://n').searchParams;
    const after = Number(query.get('after') ?? 0);
    asked.push(path);
    if (after !== 0 && after < floor - 1) throw Object.assign(new Error('too old'), { status: 410 });
    const first = Math.max(after + 1, floor);
    const count = Math.max(0, Math.min(Number(query.get('limit')), most, head - first + 1));
    return { head, floor, messages: Array.from({ length: count }, (_, index) => ({ pos: first + index })) };
  };
  return { get, asked };
}

test('a page is read whole, in as many calls as it takes', async () => {
  const { get, asked } = node({ head: 100, floor: 1, most: 9 });
  const page = await readPage(get, { path: '/p', position: 'pos', known: { head: 100, floor: 1 } });
  assert.deepEqual(page.messages.map(({ pos }) => pos), Array.from({ length: PAGE_SIZE }, (_, index) => 81 + index));
  assert.deepEqual(asked, ['/p?after=80&limit=20', '/p?after=89&limit=11', '/p?after=98&limit=2']);
});

test('what is no longer kept moves the page; a node that gives nothing ends it', async () => {
  const { get, asked } = node({ head: 100, floor: 61 });
  const page = await readPage(get, { path: '/p', position: 'pos', known: { head: 100, floor: 1 }, last: 40 });
  assert.deepEqual([page.first, page.last, page.messages[0].pos, page.floor], [61, 80, 61, 61]);
  assert.deepEqual(asked, ['/p?after=20&limit=20', '/p?limit=1', '/p?after=60&limit=20']);
  const nothing = await readPage(async () => ({ head: 5, floor: 1 }), { path: '/p', position: 'pos', known: { head: 5, floor: 1 } });
  assert.deepEqual(nothing.messages, []);
  const repeating = await readPage(async () => ({ head: 5, floor: 1, messages: [{ pos: 1 }] }), { path: '/p', position: 'pos', known: { head: 5, floor: 1 } });
  assert.deepEqual(repeating.messages.map(({ pos }) => pos), [1], 'a node that repeats itself is not asked for ever');
  assert.deepEqual(await readPage(() => assert.fail('nothing to ask for'), { path: '/p', position: 'pos', known: { head: 0, floor: 1 } }), { head: 0, floor: 1, first: 0, last: 0, messages: [] });
});

test('group ids and first lines', () => {
  assert.deepEqual([' 42 ', '9007199254740991'].map(parseGroup), ['42', '9007199254740991']);
  for (const wrong of ['', '0', '-1', '042', '9007199254740992', 'x', '1.5']) assert.equal(parseGroup(wrong), null, wrong);
  assert.deepEqual(firstLine('short'), { words: 'short', cut: false });
  assert.deepEqual(firstLine('two\nlines'), { words: 'two lines', cut: true });
  assert.equal(firstLine('☄️'.repeat(500)).cut, true);
  assert.equal(firstLine(`${'a'.repeat(159)}😀😀`).words, `${'a'.repeat(159)}😀`, 'no half character');
});
