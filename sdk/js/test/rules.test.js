// The rules of the core, one by one.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Acks } from '../src/core/acks.js';
import { Inbox } from '../src/core/inbox.js';
import { Outbox } from '../src/core/outbox.js';
import { Reconnect } from '../src/core/reconnect.js';
import { Room } from '../src/core/room.js';
import { RefusedError, refused } from '../src/errors.js';
import { fnv1a64 } from '../src/int64.js';
import { FLAG } from '../src/tables.js';

const half = () => 0.5;

test('reconnect: within a second once, then in the window of the server, then wider', () => {
  const most = new Reconnect(() => 0.999999);
  most.live(0, 4000);
  assert.ok(most.lost(100_000, 1006) < 1000, 'the first loss in a long while');
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => Math.round(most.lost(100_100, 1006) / 1000)), [4, 8, 16, 32, 60, 60]);
  most.live(200_000, 4000);
  assert.ok(most.lost(200_500, 1006) > 50_000, 'a session that dies at once changes nothing');
  most.live(300_000, 4000);
  assert.ok(most.lost(400_000, 1006) < 1000);
});

test('reconnect: all of the window is used, advice is followed, and "do not come back" too', () => {
  assert.equal(new Reconnect(() => 0).lost(0, 4001, 30_000), 0);
  assert.equal(new Reconnect(half).lost(0, 4001, 30_000), 15_000);
  for (const code of [4500, 4503, 4507, 4999]) assert.equal(new Reconnect(half).lost(0, code), null);
  for (const code of [0, 1000, 1006, 4001, 4002, 4010, 4499]) assert.notEqual(new Reconnect(half).lost(0, code), null);
  assert.equal(new Reconnect(() => 0.9).lost(0, 4008, 0), 0, 'at once is advice, too');
});

test('acks: one for 200 ms or 50 messages', () => {
  const acks = new Acks();
  acks.begin(10n);
  assert.equal(acks.deadline(), null);
  acks.stored(11n);
  assert.equal(acks.take(1000), 11n);
  acks.stored(12n);
  acks.stored(15n);
  assert.equal(acks.take(1199), null);
  assert.equal(acks.deadline(), 1200);
  assert.equal(acks.take(1200), 15n);
  acks.stored(64n);
  assert.equal(acks.take(1201), null);
  acks.stored(65n);
  assert.equal(acks.take(1201), 65n, 'fifty do not wait');
  acks.stored(60n);
  assert.equal(acks.deadline(), null, 'it never goes back');
});

function inbox(cursor, { start = 'cursor' } = {}) {
  const said = [];
  const ports = Object.fromEntries(['sync', 'moved', 'reset', 'broken', 'live'].map((name) => [name, (value) => said.push(value === undefined ? name : [name, value])]));
  ports.deliver = (frame) => said.push(frame.pos);
  return { box: new Inbox({ cursor, start, random: half, ports }), said, take: () => said.splice(0) };
}

const at = (pos, flags = FLAG.STORED) => ({ pos: BigInt(pos), flags, body: new Uint8Array(1) });
const page = (head, more = false) => ({ pos: BigInt(head), flags: more ? FLAG.MORE : 0 });
const reply = { epoch: 5n, floor: 1n, head: 10n, cursor: 0n };

test('inbox: who has everything is live at once', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 10n });
  box.begin({ epoch: 5n, pos: 10n }, reply);
  assert.deepEqual(take(), ['live']);
  for (const pos of [11, 11, 10, 12]) box.pushed(at(pos), 0);
  assert.deepEqual(take(), [11n, 12n]);
});

test('inbox: pages until there is no more, then live', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 7n });
  box.begin({ epoch: 5n, pos: 7n }, reply);
  box.page(page(10, true), [at(8), at(9)], 0);
  box.page(page(10), [at(10)], 0);
  assert.deepEqual(take(), [['sync', 7n], 8n, 9n, ['sync', 9n], 10n, 'live']);
});

test('inbox: what is ahead waits half a second at most, then SYNC', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 10n });
  box.begin({ epoch: 5n, pos: 10n }, reply);
  box.pushed(at(13), 1000);
  box.pushed(at(12), 1100);
  assert.equal(box.deadline(), 1500);
  box.pushed(at(11), 1200);
  assert.equal(box.deadline(), null, 'the gap has closed');
  assert.deepEqual(take(), ['live', 11n, 12n, 13n]);
  box.pushed(at(16), 2000);
  box.tick(2499);
  assert.deepEqual(take(), []);
  box.tick(2500);
  assert.deepEqual(take(), [['sync', 13n]]);
  box.page(page(15), [at(14), at(15)], 2510);
  assert.deepEqual(take(), [14n, 15n, 16n, 'live']);
});

test('inbox: a head above the cursor means SYNC, once', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 10n });
  box.begin({ epoch: 5n, pos: 10n }, reply);
  for (const head of [0n, 10n, 11n, 12n]) box.hint(head);
  assert.deepEqual(take(), ['live', ['sync', 10n]]);
});

test('inbox: a new device begins where it is told to', () => {
  const told = { epoch: 5n, floor: 4n, head: 10n, cursor: 6n };
  for (const [start, pos] of [['cursor', 6n], ['floor', 3n], ['head', 10n]]) {
    const { box, take } = inbox(null, { start });
    box.begin(null, told);
    assert.deepEqual(take(), [['moved', { epoch: 5n, pos }], ['sync', pos]], start);
  }
  const { box, take } = inbox(null);
  box.begin(null, { ...told, cursor: 1n });
  assert.deepEqual(take().at(-1), ['sync', 3n], 'below the floor there is nothing');
});

test('inbox: too old, or another epoch: goes on from the floor and says so', () => {
  for (const reason of ['TOO_OLD', 'EPOCH_CHANGED']) {
    const { box, take } = inbox({ epoch: 5n, pos: 7n });
    box.begin({ epoch: 5n, pos: 7n }, reply);
    box.pushed(at(20), 0);
    const generation = box.generation;
    take();
    box.refused(new RefusedError(reason, '', { detail: { epoch: 6n, floor: 3n, head: 4n } }), 0);
    assert.deepEqual(take(), [['moved', { epoch: 6n, pos: 2n }], ['reset', { reason, epoch: 6n, floor: 3n, head: 4n }], ['sync', 2n]]);
    assert.equal(box.stored(9n, generation), false, 'what was delivered before does not count any more');
    assert.deepEqual(box.cursor, { epoch: 6n, pos: 2n });
    box.page(page(4), [at(3), at(4)], 0);
    assert.deepEqual(take(), [3n, 4n, 'live']);
  }
});

test('inbox: refused for now is asked again later; refused for good is a session without inbox', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 7n });
  box.begin({ epoch: 5n, pos: 7n }, reply);
  box.refused(refused({ code: 429, reason: 'RATE_LIMITED', retry_after_ms: 3000 }), 100);
  assert.equal(box.deadline(), 3100);
  take();
  box.tick(3100);
  assert.deepEqual(take(), [['sync', 7n]]);
  box.refused(refused({ code: 501, reason: 'UNSUPPORTED' }), 3200);
  assert.deepEqual(take(), ['live']);
  box.pushed(at(8), 0);
  assert.deepEqual(take(), []);
});

test('inbox: a server that breaks its word is left', () => {
  const broken = (frames, more) => {
    const { box, take } = inbox({ epoch: 5n, pos: 7n });
    box.begin({ epoch: 5n, pos: 7n }, reply);
    box.page(page(10, more), frames, 0);
    return take().at(-1)[0];
  };
  assert.equal(broken([at(9)], false), 'broken', 'a hole in a page');
  assert.equal(broken([], true), 'broken', 'more, but nothing');
  assert.equal(broken([at(6), at(7)], true), 'broken', 'more, but nothing new');
});

test('inbox: an application that does not keep up is waited for, and gets all of it', () => {
  const { box, take } = inbox({ epoch: 5n, pos: 0n });
  box.begin({ epoch: 5n, pos: 0n }, { ...reply, head: 0n });
  take();
  for (let pos = 1; pos <= 1500; pos += 1) box.pushed(at(pos), 0);
  assert.equal(take().length, 1000);
  box.tick(10_000);
  box.hint(1500n);
  assert.deepEqual(take(), [], 'nothing is asked for meanwhile');
  box.stored(400n, box.generation);
  assert.deepEqual(take(), []);
  box.stored(500n, box.generation);
  assert.deepEqual(take(), [['sync', 1000n]]);
});

function outbox(entries = []) {
  const said = [];
  const ports = { send: ({ cid }) => said.push(cid), done: ({ cid }, { state }) => said.push([state, cid]) };
  return { box: new Outbox({ entries, random: half, ports }), take: () => said.splice(0) };
}

const entry = (cid, conv = 1n, more = {}) => ({ cid: BigInt(cid), kind: 1, conv, body: new Uint8Array(10), quiet: false, atMs: 0, ...more });
const no = (code, reason, more) => refused({ code, reason, ...more });

test('outbox: waits for the head of the inbox, keeps the order of each conversation', () => {
  const { box, take } = outbox([entry(1), entry(2)]);
  box.add(entry(3, 9n), 0);
  assert.deepEqual(take(), []);
  box.live(0);
  assert.deepEqual(take(), [1n, 3n], 'one in each conversation');
  box.accepted(1n, { state: 'accepted' }, 0);
  assert.deepEqual(take(), [['accepted', 1n], 2n]);
});

test('outbox: what came back is not sent again, what did not is, with its cid', () => {
  const { box, take } = outbox([entry(1), entry(2)]);
  box.live(0);
  box.lost();
  assert.deepEqual(take(), [1n]);
  box.accepted(1n, { state: 'accepted' }, 0);
  box.live(0);
  assert.deepEqual(take(), [['accepted', 1n], 2n]);
  box.lost();
  box.live(0);
  assert.deepEqual(take(), [2n]);
});

test('outbox: refused for now is sent again after a wait, before those behind it', () => {
  for (const [code, reason] of [[503, 'UNAVAILABLE'], [504, 'UNKNOWN'], [429, 'RATE_LIMITED']]) {
    const { box, take } = outbox([entry(1), entry(2)]);
    box.live(0);
    box.refused(1n, no(code, reason, { retry_after_ms: 700 }), 0);
    assert.deepEqual(take(), [1n]);
    assert.equal(box.deadline(), 700);
    box.add(entry(3, 5n), 100);
    assert.deepEqual(take(), [], 'nothing passes it');
    box.tick(700);
    assert.deepEqual(take(), [1n, 3n]);
  }
});

test('outbox: refused for good is told, and the next goes on', () => {
  const { box, take } = outbox([entry(1), entry(2)]);
  box.live(0);
  box.refused(1n, no(404, 'NOT_MEMBER'), 0);
  assert.deepEqual(take(), [1n, ['failed', 1n], 2n]);
  assert.equal(box.size, 1);
});

test('outbox: when nobody can say whether an old one arrived, it is not sent again', () => {
  const { box, take } = outbox([entry(1, 1n, { tried: true, atMs: 100 }), entry(2, 2n, { atMs: 100 }), entry(3, 3n, { tried: true, atMs: 900 })]);
  box.unsure(500, no(504, 'UNKNOWN'));
  box.live(1000);
  assert.deepEqual(take(), [['failed', 1n], 2n, 3n]);
});

test('outbox: bounded in bytes', () => {
  const { box } = outbox([entry(1)]);
  assert.ok(box.fits(1000));
  assert.ok(!box.fits(16 * 1024 * 1024));
});

function room() {
  const said = [];
  let asked = null;
  const ports = {
    change: (wanted) => said.push(`change ${(asked = wanted).name} ${wanted.pos}`),
    deliver: (name, frame) => said.push(frame.pos),
    joined: (name, pos, recovered) => said.push(`joined ${pos} ${recovered}`),
    gap: (name, from, to) => said.push(`gap ${from} ${to}`),
  };
  const one = new Room(ports);
  return { one, take: () => said.splice(0), asked: () => asked, push: (pos, name = 'live://1') => one.pushed({ pos: BigInt(pos), conv: fnv1a64(name) }) };
}

const changed = (pos, flags = 0) => ({ pos: BigInt(pos), flags });

test('room: joined, read in order, recovered after a loss', () => {
  const { one, take, asked, push } = room();
  one.enter('live://1', 0n);
  assert.deepEqual(take(), []);
  one.begin();
  one.changed(changed(41), asked());
  for (const pos of [42, 42, 41, 43]) push(pos);
  push(44, 'live://2');
  assert.deepEqual(take(), ['change live://1 0', 'joined 41 false', 42n, 43n]);
  one.lost();
  one.begin();
  for (const pos of [44, 45]) push(pos);
  one.changed(changed(45), asked());
  assert.deepEqual(take(), ['change live://1 43', 44n, 45n, 'joined 45 true']);
});

test('room: a jump is asked for, a loss is told and never hidden', () => {
  const { one, take, asked, push } = room();
  one.enter('live://1', 0n);
  one.begin();
  one.changed(changed(41), asked());
  take();
  for (const pos of [43, 44]) push(pos);
  assert.deepEqual(take(), ['change live://1 41'], 'nothing of what jumped is shown');
  for (const pos of [42, 43, 44]) push(pos);
  one.changed(changed(44), asked());
  assert.deepEqual(take(), [42n, 43n, 44n, 'joined 44 true']);
  push(60);
  one.changed(changed(60, FLAG.GONE), asked());
  push(61);
  assert.deepEqual(take(), ['change live://1 44', 'gap 44 60', 'joined 60 false', 61n]);
  push(70);
  one.changed(changed(70), asked());
  assert.deepEqual(take(), ['change live://1 61', 'gap 61 70', 'joined 70 false'], 'recovered in part is not recovered');
});

test('room: without recovery everything is shown; only the newest reply counts', () => {
  const { one, take, asked, push } = room();
  one.enter('live://1', 0n);
  one.begin();
  const first = asked();
  one.enter('live://2', 0n);
  one.changed(changed(9), first);
  assert.deepEqual(take(), ['change live://1 0', 'change live://2 0']);
  one.changed(changed(0), asked());
  push(0, 'live://2');
  push(0, 'live://2');
  assert.deepEqual(take(), ['joined 0 false', 0n, 0n]);
});

test('room: refused for now is asked again', () => {
  const { one, take, asked } = room();
  one.enter('live://1', 0n);
  one.begin();
  assert.equal(one.refused(no(503, 'UNAVAILABLE'), asked(), 100), true);
  one.tick(1100);
  assert.deepEqual(take(), ['change live://1 0', 'change live://1 0']);
  assert.equal(one.refused(no(403, 'PERMISSION_DENIED'), asked(), 100), false);
});
