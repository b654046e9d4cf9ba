import assert from 'node:assert/strict';
import { test } from 'node:test';

import { authBody, Client, socketUrl } from '../js/protocol/client.js';
import * as codec from '../js/protocol/frames.js';
import { FLAGS, OP } from '../js/protocol/tables.js';
import { bodyOf, vectors } from './support/vectors.js';

class FakeSocket extends EventTarget {
  readyState = 1;
  sent = [];
  send(bytes) {
    this.sent.push(...codec.decodeAll(bytes).map(({ frame }) => frame));
  }
  close() {
    this.emit('close', { code: 1000, reason: '' });
  }
  emit(type, fields = {}) {
    this.dispatchEvent(Object.assign(new Event(type), fields));
  }
  receive(...frames) {
    const bytes = Buffer.concat(frames.map((fields) => codec.encode(fields)));
    this.emit('message', { data: new Uint8Array(bytes).buffer });
  }
}

const OPTIONS = { url: 'ws://x/sub', extended: false, mid: '7', key: '', room: 'live://1', platform: 'web', accepts: [1000], token: '', heartbeatMs: 30_000 };

function connected(options = {}) {
  const rows = [];
  const socket = new FakeSocket();
  const time = { now: 0 };
  const client = new Client({ onRow: (row) => rows.push(row), onState: () => {}, open: () => socket, now: () => time.now });
  client.connect({ ...OPTIONS, ...options });
  socket.emit('open');
  return { client, socket, rows, time };
}

function live(options, reply = {}) {
  const all = connected(options);
  all.socket.receive({ op: OP.AUTH_REPLY, seq: 1, ...reply });
  return all;
}

test('AUTH is what goim sends, with all 64 bits of mid', () => {
  const { socket } = connected({ mid: '9223372036854775807' });
  const [auth] = socket.sent;
  assert.deepEqual([auth.headerLen, auth.ver, auth.op, auth.seq], [16, 1, OP.AUTH, 1]);
  const body = new TextDecoder().decode(auth.body);
  assert.equal(body, '{"mid":9223372036854775807,"room_id":"live://1","platform":"web","accepts":[1000]}');
});

test('the body of AUTH has the fields of the golden vector', () => {
  const vector = vectors('auth').find(({ name }) => name === 'goim_js');
  const wanted = JSON.parse(new TextDecoder().decode(bodyOf(vector)));
  assert.deepEqual(JSON.parse(authBody({ ...OPTIONS, mid: '123', room: 'live://1000', accepts: [1000, 1001, 1002] })), wanted);
});

test('heartbeats: one at once, then when due, with people online from the reply', () => {
  const { client, socket, rows, time } = live();
  assert.equal(client.state.phase, 'live');
  assert.deepEqual(socket.sent.map(({ op }) => op), [OP.AUTH, OP.HEARTBEAT]);
  time.now = 12;
  socket.receive({ op: OP.HEARTBEAT_REPLY, seq: 2, body: codec.encodeUint32(5) });
  assert.equal(client.state.online, 5);
  assert.equal(rows.at(-1).roundTripMs, 12);
  time.now = 29_999;
  client.tick();
  assert.equal(socket.sent.length, 2);
  time.now = 30_000;
  client.tick();
  assert.equal(socket.sent.at(-1).op, OP.HEARTBEAT);
  assert.equal(client.state.heartbeatAt, 60_000);
});

test('room and operations follow the replies', () => {
  const { client, socket } = live();
  client.changeRoom('live://2');
  assert.equal(client.state.room, 'live://1', 'not before the reply');
  socket.receive({ op: OP.CHANGE_ROOM_REPLY, seq: 3, body: 'live://2' }, { op: OP.SUB_REPLY, body: '1001,1000' }, { op: OP.UNSUB_REPLY, body: '1000' });
  assert.equal(client.state.room, 'live://2');
  assert.deepEqual(client.state.accepts, [1001]);
});

test('a batch shows as its wrapper and what is in it', () => {
  const { socket, rows } = live();
  const inner = Buffer.concat([codec.encode({ op: 1000, body: 'a' }), codec.encode({ op: 1001, body: 'b' })]);
  rows.length = 0;
  socket.receive({ op: OP.RAW, body: new Uint8Array(inner) });
  assert.deepEqual(rows.map(({ frame, depth }) => [frame.op, depth]), [[9, 0], [1000, 1], [1001, 1]]);
});

test('rows keep the beginning of a frame only', () => {
  const { socket, rows } = live();
  socket.receive({ op: 1000, body: 'x'.repeat(1 << 20) });
  const { bytes, size, frame } = rows.at(-1);
  assert.equal(bytes.buffer.byteLength, 4096);
  assert.equal(size, (1 << 20) + 16);
  assert.equal(frame.bodySize, 1 << 20);
  assert.equal(frame.body.buffer.byteLength, 4096, 'not a view into the whole message');
});

test('what is no frame is told, and the session goes on', () => {
  const { client, socket, rows } = live();
  socket.emit('message', { data: new Uint8Array([1, 2, 3]).buffer });
  assert.equal(rows.at(-1).event, 'undecodable');
  socket.emit('message', { data: 'text' });
  assert.equal(rows.at(-1).event, 'text');
  assert.equal(client.state.phase, 'live');
});

test('extended: cursor from AUTH_REPLY, moved by stored frames in line, SYNC and ACK name it', () => {
  const body = JSON.stringify({ mid: 7, key: 'k', floor: 1, head: 13, cursor: 10 });
  const { client, socket } = live({ extended: true }, { headerLen: 72, ver: 2, pos: 13n, body });
  assert.deepEqual([socket.sent[0].ver, socket.sent[0].headerLen], [2, 72]);
  assert.deepEqual([client.state.cursor, client.state.head], [10n, 13n]);
  const stored = (pos) => codec.encode({ headerLen: 72, ver: 2, op: 4, flags: FLAGS.STORED, pos, body: 'm' });
  const page = new Uint8Array(Buffer.concat([stored(11n), stored(12n), stored(20n)]));
  socket.receive({ headerLen: 72, ver: 2, op: OP.SYNC_REPLY, pos: 20n, body: page });
  assert.deepEqual([client.state.cursor, client.state.head], [12n, 20n], 'a jump does not count as read');
  client.ack();
  assert.deepEqual([socket.sent.at(-1).op, socket.sent.at(-1).pos], [OP.ACK, 12n]);
  client.message(1, -5n, 'hi');
  const message = socket.sent.at(-1);
  assert.deepEqual([message.op, message.kind, message.conv], [OP.SEND_MSG, 1, BigInt.asUintN(64, -5n)]);
  assert.notEqual(message.cid, 0n);
});

test('the end: DISCONNECT tells why, the close frame has the code', () => {
  const { client, socket } = live({ extended: true }, { headerLen: 72, ver: 2, body: '{}' });
  socket.receive({ headerLen: 72, ver: 2, op: OP.DISCONNECT, body: '{"code":4001,"reason":"DRAINING","message":"m","retry_after_ms":5000}' });
  socket.emit('close', { code: 4001, reason: 'DRAINING' });
  assert.equal(client.state.phase, 'closed');
  assert.deepEqual(client.state.end, { code: 4001, reason: 'DRAINING', message: 'm', retryAfterMs: 5000 });
});

test('events of a connection that was replaced say nothing', () => {
  const sockets = [];
  const open = () => sockets[sockets.push(new FakeSocket()) - 1];
  const client = new Client({ onRow: () => {}, onState: () => {}, open, now: () => 0 });
  client.connect(OPTIONS);
  client.connect(OPTIONS);
  sockets[0].emit('close', { code: 1006, reason: '' });
  assert.equal(client.state.phase, 'connecting');
});

test('the address for the WebSocket is one that the page can reach', () => {
  const page = (hostname, protocol = 'http:') => ({ hostname, protocol });
  assert.equal(socketUrl('127.0.0.1:3102', page('127.0.0.1')), 'ws://127.0.0.1:3102/sub');
  assert.equal(socketUrl('127.0.0.1:3102', page('localhost')), 'ws://127.0.0.1:3102/sub');
  assert.equal(socketUrl('0.0.0.0:3102', page('gw.example.org')), 'ws://gw.example.org:3102/sub');
  assert.equal(socketUrl('[::]:3102', page('[::1]')), 'ws://[::1]:3102/sub');
  assert.equal(socketUrl('127.0.0.1:3102', page('gw.example.org', 'https:')), 'wss://gw.example.org:3102/sub');
  assert.equal(socketUrl('10.0.0.5:3102', page('gw.example.org')), 'ws://10.0.0.5:3102/sub');
});
