// A client of the protocol over WebSocket: says what it does as rows and as a state. Knows no page.

import * as codec from './frames.js';
import { OP } from './tables.js';

/** Bytes of a frame that a row keeps for the hex view; a list of rows stays small whatever is pushed. */
const KEPT_BYTES = 4096;
/** Requests whose answer is awaited; more are simply not timed. */
const IN_FLIGHT_MAX = 1000;
const IDLE = { phase: 'idle', sent: 0, received: 0, accepts: [], room: '', online: null, heartbeatAt: null, end: null };

/** The WebSocket address that a page at `page` (a Location) should use for a node that listens on `listen`. */
export function socketUrl(listen, page) {
  const scheme = page.protocol === 'https:' ? 'wss' : 'ws';
  const colon = listen.lastIndexOf(':');
  const [host, port] = [listen.slice(0, colon), listen.slice(colon + 1)];
  const loopback = (name) => /^(127\.|localhost$|\[::1\]$)/.test(name);
  const anywhere = host === '0.0.0.0' || host === '[::]';
  // An address of loopback is of no use to a page that came from elsewhere: it came through something.
  const own = anywhere || (loopback(host) && !loopback(page.hostname));
  return `${scheme}://${own ? page.hostname : host}:${port}/sub`;
}

/** The JSON of AUTH. Written by hand: `mid` has 64 bits, more than a JavaScript number. */
export function authBody({ mid, key, room, platform, accepts, token }) {
  const rest = { key: key || undefined, room_id: room, platform, accepts, token: token || undefined };
  return `{"mid":${mid},${JSON.stringify(rest).slice(1)}`;
}

/** A cid that no other send has: random, not 0, below 2^63. */
function freshCid() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (BigInt(high >>> 1) << 32n) | BigInt(low) | 1n;
}

export class Client {
  #socket = null;
  #seq = 0;
  #inFlight = new Map();
  #options = null;
  #state = { ...IDLE };
  #open;
  #now;
  #onRow;
  #onState;

  /** `onRow(row)` for every frame and event, `onState(state)` after every change. `open` and `now` can be replaced by tests. */
  constructor({ onRow, onState, open = (url) => new WebSocket(url), now = () => performance.timeOrigin + performance.now() }) {
    this.#onRow = onRow;
    this.#onState = onState;
    this.#open = open;
    this.#now = now;
  }

  get state() {
    return this.#state;
  }

  get #live() {
    return this.#state.phase === 'live';
  }

  /** Connects: `{url, extended, mid, key, room, platform, accepts, token, heartbeatMs}`. Throws what the browser throws. */
  connect(options) {
    const socket = this.#open(options.url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#options = options;
    this.#seq = 0;
    this.#inFlight.clear();
    this.#state = { ...IDLE, phase: 'connecting', extended: options.extended };
    const mine = (work) => (event) => {
      if (this.#socket === socket) work(event);
    };
    socket.addEventListener('open', mine(() => this.#opened()));
    socket.addEventListener('message', mine((event) => this.#message(event.data)));
    socket.addEventListener('close', mine((event) => this.#closed(event)));
    this.#change({});
  }

  disconnect() {
    if (this.#socket === null) return;
    this.#change({ phase: 'closing', heartbeatAt: null });
    this.#socket.close(1000);
  }

  /** Lets time pass: sends the heartbeat that is due. Call it a few times a second. */
  tick() {
    if (this.#live && this.#state.heartbeatAt !== null && this.#now() >= this.#state.heartbeatAt) this.heartbeat();
  }

  heartbeat() {
    this.#change({ heartbeatAt: this.#now() + this.#options.heartbeatMs });
    this.#send({ op: OP.HEARTBEAT });
  }

  changeRoom(room) {
    this.#send({ op: OP.CHANGE_ROOM, body: room });
  }

  sub(operations) {
    this.#send({ op: OP.SUB, body: operations });
  }

  unsub(operations) {
    this.#send({ op: OP.UNSUB, body: operations });
  }

  /** Any operation with any body: upstream, unless the protocol has a meaning for it. */
  upstream(op, body) {
    this.#send({ op, body });
  }

  /** A message of a user to another, or to a group (extended only). */
  message(kind, conv, body) {
    this.#send({ op: OP.SEND_MSG, kind, conv: BigInt.asUintN(64, conv), cid: freshCid(), body });
  }

  /** Reads the inbox after the cursor (extended only). */
  sync() {
    this.#send({ op: OP.SYNC, pos: this.#state.cursor ?? 0n });
  }

  /** Says that all up to the cursor is stored here (extended only). */
  ack() {
    this.#send({ op: OP.ACK, pos: this.#state.cursor ?? 0n });
  }

  #change(changes) {
    this.#state = { ...this.#state, ...changes };
    this.#onState(this.#state);
  }

  #send(fields) {
    if (this.#socket === null || this.#socket.readyState !== 1) return;
    this.#seq = this.#seq >= 0x7fff_ffff ? 1 : this.#seq + 1;
    const { extended } = this.#state;
    const header = extended ? { ver: 2, headerLen: codec.HEADER_EXTENDED } : { ver: 1, headerLen: codec.HEADER_CLASSIC };
    const frame = codec.frame({ ...header, seq: this.#seq, ...fields });
    const bytes = codec.encode(frame);
    if (this.#inFlight.size < IN_FLIGHT_MAX) this.#inFlight.set(this.#seq, { op: frame.op, at: this.#now() });
    this.#socket.send(bytes);
    this.#row({ direction: 'out', frame, bytes });
    this.#change({ sent: this.#state.sent + 1 });
  }

  #row({ direction, frame = null, bytes = new Uint8Array(), ...rest }) {
    const kept = bytes.slice(0, KEPT_BYTES);
    const body = frame && kept.subarray(Math.min(frame.headerLen, kept.byteLength));
    // The frame's own body is a view that would hold the whole message.
    const slim = frame && { ...frame, body, bodySize: frame.body.byteLength };
    this.#onRow({ at: this.#now(), direction, frame: slim, bytes: kept, size: bytes.byteLength, depth: 0, ...rest });
  }

  #opened() {
    this.#row({ direction: 'note', event: 'opened', url: this.#options.url });
    this.#change({ phase: 'authenticating' });
    this.#send({ op: OP.AUTH, body: authBody(this.#options) });
  }

  #closed(event) {
    this.#socket = null;
    this.#inFlight.clear();
    const told = this.#state.end;
    const end = { code: event.code, reason: event.reason || told?.reason || '', message: told?.message ?? '' };
    if (told?.retryAfterMs !== undefined) end.retryAfterMs = told.retryAfterMs;
    this.#row({ direction: 'note', event: 'closed', code: event.code, reason: event.reason });
    this.#change({ phase: 'closed', heartbeatAt: null, online: null, end });
  }

  #message(data) {
    if (!(data instanceof ArrayBuffer)) {
      this.#row({ direction: 'note', event: 'text' });
      return;
    }
    const bytes = new Uint8Array(data);
    let entries;
    try {
      entries = codec.decodeMessage(bytes);
    } catch (error) {
      this.#row({ direction: 'note', event: 'undecodable', message: error.message, bytes });
      return;
    }
    for (const entry of entries) {
      const { frame, depth } = entry;
      const roundTripMs = depth === 0 ? this.#answered(frame) : null;
      this.#row({ direction: 'in', frame, bytes: entry.bytes, depth, roundTripMs });
      this.#change({ received: this.#state.received + 1 });
      this.#take(frame, depth);
    }
  }

  // The time since the request that this answers, or null.
  #answered(frame) {
    const request = this.#inFlight.get(frame.seq);
    if (request === undefined) return null;
    const answers = [request.op, request.op + 1, OP.ERROR];
    if (!answers.includes(frame.op)) return null;
    this.#inFlight.delete(frame.seq);
    return Math.max(0, this.#now() - request.at);
  }

  // What a frame from the server means for the state.
  #take(frame, depth) {
    this.#advance(frame);
    if (depth > 0) return;
    const text = () => new TextDecoder().decode(frame.body);
    switch (frame.op) {
      case OP.AUTH_REPLY:
        return this.#authenticated(frame, text());
      case OP.HEARTBEAT_REPLY: {
        const head = this.#state.extended && frame.pos > 0n ? { head: frame.pos } : {};
        return this.#change({ online: codec.decodeInt32(frame.body), ...head });
      }
      case OP.CHANGE_ROOM_REPLY:
        this.#change({ room: text(), online: null });
        return this.heartbeat();
      case OP.SUB_REPLY: {
        const added = codec.parseOperations(text()) ?? [];
        return this.#change({ accepts: [...new Set([...this.#state.accepts, ...added])] });
      }
      case OP.UNSUB_REPLY: {
        const removed = codec.parseOperations(text()) ?? [];
        return this.#change({ accepts: this.#state.accepts.filter((op) => !removed.includes(op)) });
      }
      case OP.SYNC_REPLY:
      case OP.HEAD:
        return frame.kind === 0 && frame.pos > 0n ? this.#change({ head: frame.pos }) : undefined;
      case OP.DISCONNECT:
        return this.#change({ end: endOf(text()) });
    }
  }

  // The cursor moves over what is stored and stands next in line.
  #advance(frame) {
    if (!(frame.flags & 1) || this.#state.cursor === undefined) return;
    if (frame.pos === this.#state.cursor + 1n) this.#change({ cursor: frame.pos });
  }

  #authenticated(frame, text) {
    const { room, accepts, heartbeatMs } = this.#options;
    const changes = { phase: 'live', room, accepts, heartbeatAt: this.#now() + heartbeatMs };
    if (this.#state.extended) {
      const reply = parse(text);
      const position = (value) => (/^\d+$/.test(String(value)) ? BigInt(value) : 0n);
      const floor = position(reply.floor);
      const cursor = position(reply.cursor);
      // Below the floor nothing is kept any more: reading begins there.
      const from = floor > 0n && cursor < floor - 1n ? floor - 1n : cursor;
      Object.assign(changes, { key: reply.key, server: reply.server, head: frame.pos, cursor: from });
    }
    this.#change(changes);
    // At once, to show how many people are online.
    this.heartbeat();
  }
}

function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** Why the server ends the session, from the JSON of DISCONNECT. */
function endOf(text) {
  const json = parse(text);
  const end = { reason: String(json.reason ?? ''), message: String(json.message ?? '') };
  if (Number.isFinite(json.retry_after_ms)) end.retryAfterMs = json.retry_after_ms;
  return end;
}
