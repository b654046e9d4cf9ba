// The driver: sockets, timers and storage around the core. What it decides by itself is nothing.

import { Core } from './core/core.js';
import { Message } from './core/message.js';
import { Delivery } from './delivery.js';
import { Emitter } from './emitter.js';
import { ClosedError, DisconnectedError, FullError, PerseidError, StorageError } from './errors.js';
import { decodeAll, toBytes } from './frame.js';
import { i64, mintCid, u64 } from './int64.js';
import { defaultStorage } from './storage.js';
import { FLAG, KIND, OP } from './tables.js';
import { openSocket, webSocketClass } from './transport.js';

const EVENTS = ['message', 'push', 'room', 'joined', 'gap', 'ephemeral', 'head', 'reset', 'state', 'outbox', 'error'];
const REQUEST_MS = 30_000;
const BODY_BYTES_MAX = 64 * 1024;
const TIMER_MS_MAX = 2 ** 31 - 1;

/** A session of a user's device that outlives its connections. `start()` begins it, `close()` ends it for good. */
export class Client {
  #options;
  #events = new Emitter(EVENTS);
  #storage;
  #core = null;
  #delivery = null;
  #socket = null;
  #timer = null;
  #state = { phase: 'idle' };
  #starting = null;
  #closed = false;
  #turning = false;
  #lastRequest = 0;
  #answers = new Map();
  #sends = new Map();
  #puts = Promise.resolve();
  #unlisten = () => {};

  constructor(options) {
    const { url, mid, deviceId = '', platform = 'web' } = options;
    if (typeof url !== 'string' || url === '') throw new TypeError('the option url is the WebSocket address of a comet: ws://host:3102/sub');
    this.#options = { accepts: [], key: '', token: '', now: () => performance.timeOrigin + performance.now(), ...options, mid: i64(mid, 'mid'), deviceId, platform };
    this.#storage = options.storage ?? defaultStorage(`${url}/${mid}/${deviceId || platform}`);
  }

  /** `{phase, retryAtMs, error}`: `idle`, `connecting`, `authenticating`, `syncing`, `live`, `waiting`, `stopped`. */
  get state() {
    return this.#state;
  }

  /** What the server said of the session that is, or null: `{mid, key, server, limits}`. */
  get session() {
    return this.#core?.session ?? null;
  }

  get mid() {
    return this.#options.mid;
  }

  /** `listener(value)` for an event; answers with a function that ends it. Listeners of `message` are waited for. */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /** Reads the storage and connects; resolves when the storage is read, with the messages that still wait to be sent. */
  start() {
    if (this.#closed) return Promise.reject(new ClosedError());
    this.#starting ??= this.#start().catch((error) => {
      this.#starting = null;
      throw error;
    });
    return this.#starting;
  }

  async #start() {
    // Throws where there is none, before anything is begun.
    webSocketClass(this.#options.WebSocket);
    const { cursor, entries } = await this.#storage.open();
    if (this.#closed) throw new ClosedError();
    const { mid, key, platform, deviceId, accepts, start, replyMs, random } = this.#options;
    const auth = { mid, key, platform, deviceId, accepts };
    const given = Object.fromEntries(Object.entries({ start, replyMs, random }).filter(([, value]) => value !== undefined));
    // What an earlier run left may have been sent by it.
    const waiting = entries.map((entry) => ({ ...entry, tried: true }));
    this.#core = new Core({ auth, cursor, entries: waiting, ...given });
    this.#delivery = new Delivery({
      storage: this.#storage,
      epoch: cursor?.epoch ?? 0n,
      tell: (message) => this.#events.tell('message', message),
      stored: (pos, generation) => this.#turn((core, now) => core.stored(pos, generation, now)),
      failed: (error) => this.#fail(error),
    });
    this.#listen();
    this.#turn((core, now) => core.start(now));
    return entries.map((entry) => this.#track(entry));
  }

  /** Ends it: what waits to be sent stays in the storage. */
  close() {
    return this.#close(new ClosedError());
  }

  async #close(error) {
    if (this.#closed) return;
    this.#closed = true;
    this.#unlisten();
    this.#turn((core) => core.stop(error));
    for (const { reject } of this.#sends.values()) reject(error);
    this.#sends.clear();
    clearTimeout(this.#timer);
    await this.#delivery?.close();
    await this.#puts;
    await this.#storage.close();
  }

  /** Tries to connect within a second, if it waits: the user wants it, or the network is back. */
  hurry() {
    this.#turn((core, now) => core.hurry(now));
  }

  /** Goes offline until `resume()`: messages may be sent all the same, and go out then. */
  pause() {
    this.#turn((core) => core.stop(new DisconnectedError('PAUSED', 'the client is paused: resume() it', { comesBack: false })));
  }

  /** A session that stopped (`state.phase` is `stopped`) tries again: after a new token, say. */
  resume() {
    this.#turn((core, now) => core.start(now));
  }

  /**
   * A message to a user (`KIND.DIRECT`), a group or a channel. Resolves when it is kept: `{cid, accepted}`; `accepted` when the
   * server has it, or rejects with what it said. Until then it is sent again whenever that is safe, over restarts too.
   */
  async send({ kind = KIND.DIRECT, conv, body, quiet = false }) {
    await this.#started();
    const bytes = toBytes(body).slice();
    const limit = this.session?.limits?.body_bytes ?? BODY_BYTES_MAX;
    if (bytes.byteLength > limit) throw new PerseidError('TOO_LARGE', `a body has at most ${limit} bytes, this one ${bytes.byteLength}`);
    if (!this.#core.fits(bytes.byteLength)) throw new FullError('messages');
    const entry = { cid: mintCid(), kind, conv: wide(conv, 'conv'), body: bytes, quiet, atMs: this.#options.now() };
    // One after the other: the order of calls is the order of messages.
    const put = this.#puts.then(() => this.#storage.put(entry));
    this.#puts = put.catch(() => {});
    await put.catch((error) => {
      throw error instanceof PerseidError ? error : new StorageError('STORAGE_FAILED', `the message could not be kept: ${error.message}`);
    });
    if (this.#closed) throw new ClosedError();
    const outgoing = this.#track(entry);
    this.#turn((core, now) => core.enqueue(entry, now));
    return outgoing;
  }

  #track(entry) {
    const { cid, kind, conv, body, atMs } = entry;
    const accepted = new Promise((resolve, reject) => this.#sends.set(cid, { resolve, reject }));
    // Whoever wants to know listens; whoever does not must not be killed for it.
    accepted.catch(() => {});
    this.#events.emit('outbox', { cid, state: 'queued' });
    return { cid, kind, conv, body, atMs, accepted };
  }

  /** A page of a conversation's timeline after `after`, or the last ones before `before` (0n: from the end). */
  async pull({ kind, conv, after = 0n, before, limit = 0 }) {
    const back = before !== undefined;
    const fields = { op: OP.PULL, kind, conv: wide(conv, 'conv'), convPos: u64(back ? before : after, 'position'), flags: back ? FLAG.MORE : 0, body: size(limit) };
    const reply = await this.#request(fields);
    const messages = decodeAll(reply.body).map((frame) => this.#message(frame));
    return { messages, head: reply.convPos, floor: reply.pos, more: Boolean(reply.flags & FLAG.MORE) };
  }

  /** A page of the user's conversations after (`kind`, `conv`): `{heads: [{kind, conv, head, read, id}], more}`. */
  async heads({ kind = 0, conv = 0n, limit = 0 } = {}) {
    const reply = await this.#request({ op: OP.HEADS, kind, conv: wide(conv, 'conv'), body: size(limit) });
    const heads = decodeAll(reply.body).map((frame) => ({ kind: frame.kind, conv: frame.conv, head: frame.convPos, read: frame.pos, id: frame.id }));
    return { heads, more: Boolean(reply.flags & FLAG.MORE) };
  }

  /** Read up to `convPos`; answers with the position that holds. */
  async read({ kind, conv, convPos }) {
    const reply = await this.#request({ op: OP.READ, kind, conv: wide(conv, 'conv'), convPos: u64(convPos, 'convPos') });
    return reply.convPos;
  }

  /** Takes a message back. Resolves when it is gone from every later reading. */
  async recall({ kind, conv, convPos }) {
    await this.#request({ op: OP.RECALL, kind, conv: wide(conv, 'conv'), convPos: u64(convPos, 'convPos') });
  }

  /** Typing and the like: to who is online, now or never. True if it went out. */
  ephemeral({ kind = KIND.DIRECT, conv, body = '' }) {
    const fields = { op: OP.EPHEMERAL, flags: FLAG.EPHEMERAL, kind, conv: wide(conv, 'conv'), body };
    let said = false;
    this.#turn((core, now) => (said = core.say(fields, now)));
    return said;
  }

  /** Operations that this session takes from now on, of pushes that are not stored. */
  async subscribe(operations) {
    await this.#request({ op: OP.SUB, body: operations.join(',') });
  }

  async unsubscribe(operations) {
    await this.#request({ op: OP.UNSUB, body: operations.join(',') });
  }

  /** Goes to a room, `type://id`, and stays in it over reconnects. `pos`: the last position seen there, to get what was missed. */
  joinRoom(room, { pos = 0n } = {}) {
    if (!/^[^:]+:\/\/.+$/s.test(room)) throw new TypeError(`a room is named type://id, not ${room}`);
    const last = u64(pos, 'pos');
    return this.#started().then(() => this.#turn((core, now) => core.enterRoom(room, last, now)));
  }

  leaveRoom() {
    return this.#started().then(() => this.#turn((core, now) => core.enterRoom('', 0n, now)));
  }

  /** A fresh token, before the old one expires. */
  async renew() {
    const token = await this.#token();
    this.#turn((core, now) => core.renew(token, now));
  }

  async #started() {
    if (this.#closed) throw new ClosedError();
    if (this.#starting === null) throw new PerseidError('NOT_STARTED', 'call start() first');
    await this.#starting;
    if (this.#closed) throw new ClosedError();
  }

  async #request(fields) {
    await this.#started();
    return new Promise((resolve, reject) => {
      this.#lastRequest += 1;
      const id = this.#lastRequest;
      this.#answers.set(id, { resolve, reject });
      this.#turn((core, now) => core.request({ id, fields, untilMs: now + REQUEST_MS }, now));
    });
  }

  #message(frame) {
    return new Message(frame, Number(this.session?.limits?.id_epoch_ms ?? 0));
  }

  // Every input goes through here: something for the core, what comes of it, the next time to wake up.
  #turn(input) {
    if (this.#core === null) return;
    input(this.#core, this.#options.now());
    // A listener that calls us: the turn that runs takes its actions too.
    if (this.#turning) return;
    this.#turning = true;
    for (let actions = this.#core.take(); actions.length > 0; actions = this.#core.take()) {
      for (const action of actions) this.#act(action);
    }
    this.#turning = false;
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    const at = this.#core.deadline();
    if (at === null) return;
    const waitMs = Math.min(TIMER_MS_MAX, Math.max(0, Math.ceil(at - this.#options.now())));
    this.#timer = setTimeout(() => this.#turn((core, now) => core.tick(now)), waitMs);
  }

  #act(action) {
    switch (action.do) {
      case 'connect':
        return this.#connect();
      case 'send':
        return this.#socket?.send(action.bytes);
      case 'close':
        this.#socket?.close();
        this.#socket = null;
        return;
      case 'deliver':
      case 'moved':
        return this.#delivery.add(action);
      case 'sending':
        return this.#events.emit('outbox', { cid: action.cid, state: 'sent' });
      case 'done':
        return this.#done(action);
      case 'answer':
        return this.#answer(action);
      case 'emit':
        return this.#events.emit(action.event, action.value);
      case 'phase': {
        const { phase, error = null, retryAt = null } = action;
        this.#state = { phase, error, retryAtMs: retryAt };
        return this.#events.emit('state', this.#state);
      }
    }
  }

  #done(action) {
    this.#delivery.add(action);
    const { entry, state, error = null } = action;
    const { id = 0n, kind = entry.kind, conv = entry.conv, pos = 0n, convPos = 0n, duplicate = false } = action;
    const waiting = this.#sends.get(entry.cid);
    this.#sends.delete(entry.cid);
    const result = { cid: entry.cid, id, kind, conv, pos, convPos, duplicate };
    this.#events.emit('outbox', { ...result, state, error });
    if (state === 'failed') waiting?.reject(error);
    else waiting?.resolve(result);
  }

  #answer({ id, error, frame }) {
    const waiting = this.#answers.get(id);
    this.#answers.delete(id);
    if (error !== null) waiting?.reject(error);
    else waiting?.resolve(frame);
  }

  #connect() {
    const attempt = {};
    this.#socket = { send() {}, close: () => (attempt.over = true) };
    const mine = (work) => (value) => attempt.over || this.#turn((core, now) => work(core, now, value));
    this.#token().then(
      (token) => {
        if (attempt.over) return;
        const socket = openSocket(webSocketClass(this.#options.WebSocket), this.#options.url, {
          opened: mine((core, now) => core.opened(token, now)),
          received: mine((core, now, bytes) => core.received(bytes, now)),
          closed: mine((core, now, end) => core.closed(end, now)),
        });
        this.#socket = { send: socket.send, close: () => ((attempt.over = true), socket.close()) };
      },
      (error) => mine((core, now) => core.closed({ code: 0, reason: 'NO_TOKEN' }, now))(this.#events.emit('error', error)),
    );
  }

  async #token() {
    const { token } = this.#options;
    return typeof token === 'function' ? token() : token;
  }

  // The application or the storage failed: what comes next must not pass over what was not kept.
  #fail(error) {
    this.#events.emit('error', error);
    this.#close(error).catch((reason) => this.#events.emit('error', reason));
  }

  #listen() {
    const target = globalThis.addEventListener ? globalThis : null;
    const hurry = () => this.hurry();
    target?.addEventListener('online', hurry);
    this.#unlisten = () => target?.removeEventListener('online', hurry);
  }
}

// Positions, conversations: a direct chat's is a mid, which may have a sign.
function wide(value, name) {
  return BigInt.asUintN(64, typeof value === 'bigint' || Number(value) >= 0 ? u64(value, name) : i64(value, name));
}

function size(limit) {
  if (limit === 0) return new Uint8Array();
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, limit);
  return bytes;
}
