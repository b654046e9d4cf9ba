// The whole client over a real WebSocket, against the double.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { Core } from '../src/core/core.js';
import { Client, ClosedError, KIND, MemoryStorage, PerseidError, RefusedError } from '../src/index.js';
import { startServer } from './support/server.mjs';
import { World } from './support/world.mjs';

const open = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function serve(options) {
  const server = await startServer({ world: new World({ reconnectMs: 50, ...options }) });
  open.push(server);
  return server;
}

/** A started client that keeps what it is told: `{client, seen, states}`. */
async function join(server, mid, options = {}) {
  const client = new Client({ url: server.url, mid, storage: new MemoryStorage(), random: () => 0.01, ...options });
  open.push(client);
  const [seen, states, errors] = [[], [], []];
  client.on('message', (message) => void seen.push(message));
  client.on('state', ({ phase }) => states.push(phase));
  client.on('error', (error) => errors.push(error));
  await client.start();
  return { client, seen, states, errors };
}

async function until(what, holds) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`waited in vain: ${what}`);
}

const texts = (seen) => seen.filter(({ kind }) => kind !== KIND.EVENT).map(({ text }) => text);

test('two users write to one another; both see each message once, with its numbers', async () => {
  const server = await serve();
  const [ann, ben] = [await join(server, 1), await join(server, '2')];
  const { cid, accepted } = await ann.client.send({ conv: 2n, body: 'hello 流星' });
  const { id, duplicate } = await accepted;
  assert.equal(duplicate, false);
  await until('both have it', () => ann.seen.length === 1 && ben.seen.length === 1);
  const { pos, conv, convPos, from, text, type } = ben.seen[0];
  assert.deepEqual({ pos, conv, convPos, from, text, type }, { pos: 1n, conv: 1n, convPos: 1n, from: 1n, text: 'hello 流星', type: 'direct' });
  assert.deepEqual([ann.seen[0].cid, ann.seen[0].id, ann.seen[0].conv], [cid, id, 2n]);
  await until('the device has told', () => server.world.user(2n).devices.get('web') === 1n);
});

test('cuts in between: nothing lost, nothing doubled', async () => {
  const server = await serve();
  const [ann, ben] = [await join(server, 1n), await join(server, 2n)];
  const sent = [];
  for (let number = 1; number <= 60; number += 1) {
    const { accepted } = await ann.client.send({ conv: 2n, body: String(number) });
    sent.push(accepted);
    if (number % 9 === 0) server.cut();
    if (number % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await Promise.all(sent);
  await until('ben has all', () => ben.seen.length >= 60 && ann.seen.length >= 60);
  const wanted = Array.from({ length: 60 }, (_, index) => String(index + 1));
  assert.deepEqual(texts(ben.seen), wanted);
  assert.deepEqual(texts(ann.seen), wanted);
});

test('a restart: what waited is sent with the cid it had, what was seen is not told again', async () => {
  const server = await serve();
  const storage = new MemoryStorage();
  const ann = await join(server, 1n, { storage });
  const { accepted } = await ann.client.send({ conv: 2n, body: 'one' });
  await accepted;
  await until('kept', () => ann.seen.length === 1 && storage.open().cursor?.pos === 1n);
  server.cut();
  const { cid } = await ann.client.send({ conv: 2n, body: 'two' });
  await ann.client.close();
  await assert.rejects(ann.client.send({ conv: 2n, body: 'late' }), ClosedError);

  const again = new Client({ url: server.url, mid: 1n, storage });
  open.push(again);
  const seen = [];
  again.on('message', (message) => void seen.push(message));
  const waiting = await again.start();
  if (waiting.length > 0) {
    assert.deepEqual(waiting.map((one) => one.cid), [cid]);
    await waiting[0].accepted;
  }
  await until('it came back', () => seen.length >= 1);
  assert.deepEqual(seen.map((message) => [message.text, message.cid]), [['two', cid]]);
  assert.equal(server.world.user(2n).log.length, 2);
});

test('an application that fails is not passed over: the message comes again', async () => {
  const server = await serve();
  const storage = new MemoryStorage();
  const ben = new Client({ url: server.url, mid: 2n, storage });
  const errors = [];
  ben.on('error', (error) => errors.push(error));
  ben.on('message', ({ text }) => {
    if (text === 'bad') throw new Error('disk full');
  });
  await ben.start();
  const ann = await join(server, 1n);
  for (const body of ['good', 'bad', 'later']) await (await ann.client.send({ conv: 2n, body })).accepted;
  await until('it ends', () => ben.state.phase === 'stopped');
  assert.equal(errors[0].reason, 'HANDLER_FAILED');
  const again = await join(server, 2n, { storage });
  await until('the rest', () => again.seen.length >= 2);
  assert.deepEqual(texts(again.seen).slice(-2), ['bad', 'later']);
});

test('pages, heads, receipts, recall', async () => {
  const server = await serve();
  const [ann, ben] = [await join(server, 1n), await join(server, 2n)];
  for (const body of ['a', 'b', 'c', 'd']) await (await ann.client.send({ conv: 2n, body })).accepted;
  const last = await ben.client.pull({ kind: KIND.DIRECT, conv: 1n, before: 0n, limit: 2 });
  assert.deepEqual([texts(last.messages), last.head, last.more], [['c', 'd'], 4n, true]);
  const next = await ben.client.pull({ kind: KIND.DIRECT, conv: 1n, after: 1n, limit: 2 });
  assert.deepEqual(next.messages.map(({ convPos, conv }) => [convPos, conv]), [[2n, 1n], [3n, 1n]]);
  assert.equal(await ben.client.read({ kind: KIND.DIRECT, conv: 1n, convPos: 3n }), 3n);
  assert.equal(await ben.client.read({ kind: KIND.DIRECT, conv: 1n, convPos: 2n }), 3n, 'it never goes back');
  assert.deepEqual((await ben.client.heads()).heads.map(({ kind, conv, head, read }) => [kind, conv, head, read]), [[1, 1n, 4n, 3n]]);
  await until('ann learns it', () => ann.seen.some(({ event }) => event?.type === 'read' && event.conv_pos === 3));
  await ann.client.recall({ kind: KIND.DIRECT, conv: 2n, convPos: 2n });
  await until('ben learns it', () => ben.seen.some(({ event }) => event?.type === 'recall' && event.conv_pos === 2));
  const all = await ben.client.pull({ kind: KIND.DIRECT, conv: 1n });
  assert.deepEqual(all.messages.slice(0, 3).map(({ gone, text }) => [gone, text]), [[false, 'a'], [true, ''], [false, 'c']]);
  await assert.rejects(ben.client.recall({ kind: KIND.DIRECT, conv: 1n, convPos: 1n }), (error) => error instanceof RefusedError && error.reason === 'PERMISSION_DENIED');
});

test('a refused message is told, and the next one goes', async () => {
  const server = await serve();
  const ann = await join(server, 1n);
  const states = [];
  ann.client.on('outbox', ({ state }) => states.push(state));
  const bad = await ann.client.send({ kind: KIND.GROUP, conv: 77n, body: 'x' });
  await assert.rejects(bad.accepted, { reason: 'NOT_MEMBER' });
  await (await ann.client.send({ conv: 1n, body: 'to myself' })).accepted;
  assert.deepEqual(states, ['queued', 'sent', 'failed', 'queued', 'sent', 'accepted']);
});

test('ephemeral goes to who is there; rooms recover', async () => {
  const server = await serve();
  const [ann, ben] = [await join(server, 1n), await join(server, 2n)];
  const heard = [];
  ben.client.on('ephemeral', ({ from, conv, text }) => heard.push([from, conv, text]));
  ben.client.on('room', ({ message }) => heard.push(message.text));
  ben.client.on('joined', ({ pos, recovered }) => heard.push(`joined ${pos} ${recovered}`));
  await until('both are in', () => ann.client.state.phase === 'live' && ben.client.state.phase === 'live');
  assert.equal(ann.client.ephemeral({ conv: 2n, body: 'typing' }), true);
  await until('typing', () => heard.length === 1);
  await ben.client.joinRoom('live://1');
  await until('joined', () => heard.length === 2);
  server.world.roomPush('live://1', { body: Buffer.from('one'), conv: 0n });
  await until('one', () => heard.length === 3);
  server.cut();
  server.world.roomPush('live://1', { body: Buffer.from('two'), conv: 0n });
  await until('recovered', () => heard.length === 5);
  assert.deepEqual(heard, [[1n, 1n, 'typing'], 'joined 40 false', 'one', 'two', 'joined 42 true']);
});

test('a lost store and a trimmed one are told, and it goes on', async () => {
  const server = await serve();
  const ben = await join(server, 2n);
  const ann = await join(server, 1n);
  const resets = [];
  ben.client.on('reset', ({ reason, epoch }) => resets.push([reason, epoch]));
  await (await ann.client.send({ conv: 2n, body: 'before' })).accepted;
  await until('kept', () => server.world.user(2n).devices.get('web') === 1n);
  server.world.lose(2n);
  await until('told', () => resets.length === 1);
  await (await ann.client.send({ conv: 2n, body: 'after' })).accepted;
  await until('it goes on', () => texts(ben.seen).includes('after'));
  assert.deepEqual(resets, [['EPOCH_CHANGED', 1001n]]);
});

test('"do not come back" is obeyed; what waits is kept', async () => {
  const server = await serve();
  const { client } = await join(server, 1n, { token: () => 'wrong' });
  await until('stopped', () => client.state.phase === 'stopped');
  assert.deepEqual([client.state.error.reason, client.state.error.comesBack], ['UNAUTHENTICATED', false]);
});

test('a request outlives a cut', async () => {
  const server = await serve();
  const { client, states } = await join(server, 1n);
  await until('live', () => client.state.phase === 'live');
  server.cut();
  assert.deepEqual((await client.heads()).heads, []);
  assert.ok(states.includes('waiting'), states.join());
});

test('a connection that hangs, and a server that does not answer, are left', () => {
  const auth = { mid: 1n, key: '', platform: 'web', deviceId: '', accepts: [] };
  for (const connects of [false, true]) {
    const core = new Core({ auth, cursor: null, entries: [], random: () => 0.5, replyMs: 5000 });
    core.start(1000);
    if (connects) core.opened('', 2000);
    core.tick(core.deadline() - 1);
    assert.notEqual(core.phase, 'waiting');
    core.tick(core.deadline());
    assert.equal(core.phase, 'waiting');
    assert.ok(core.take().some((action) => action.do === 'close'));
  }
});

test('what makes no sense is refused at once', async () => {
  const server = await serve();
  assert.throws(() => new Client({ url: server.url, mid: 1.5 }), TypeError);
  assert.throws(() => new Client({ mid: 1 }), TypeError);
  const unstarted = new Client({ url: server.url, mid: 1 });
  await assert.rejects(unstarted.send({ conv: 1, body: '' }), { reason: 'NOT_STARTED' });
  const { client } = await join(server, 1n);
  assert.throws(() => client.on('mesage', () => {}), TypeError);
  assert.throws(() => client.joinRoom('lobby'), TypeError);
  await assert.rejects(client.send({ conv: 2n ** 64n, body: '' }), TypeError);
  await assert.rejects(client.send({ conv: 1n, body: 7 }), TypeError);
  await assert.rejects(client.send({ conv: 1n, body: new Uint8Array(65537) }), (error) => error instanceof PerseidError && error.reason === 'TOO_LARGE');
});
