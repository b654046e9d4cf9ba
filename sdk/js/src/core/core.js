// The client without sockets, timers and storage: time is an argument, what is to be done comes out as actions.
//
//   opened, received, closed, tick, enqueue, request, stored …  →  take(): actions in order,  deadline(): when to tick

import { DisconnectedError, refused, waitOf } from '../errors.js';
import { FrameError, decodeAll, encode, toText } from '../frame.js';
import { readJson } from '../int64.js';
import { FLAG, KIND, OP } from '../tables.js';
import { Acks } from './acks.js';
import { Flight } from './flight.js';
import { Inbox } from './inbox.js';
import { Message } from './message.js';
import { Outbox, acceptedBy } from './outbox.js';
import { Reconnect } from './reconnect.js';
import { Requests } from './requests.js';
import { Room } from './room.js';
import { authBody, readAuthReply, readLimits, refusedBy } from './words.js';

export class Core {
  #options;
  #actions = [];
  #phase = 'idle';
  #retryAt = null;
  #flight = null;
  #told = null;
  #end = null;
  #session = null;
  #limits = readLimits({});
  #acks = new Acks();
  #inbox;
  #outbox;
  #room;
  #requests;
  #reconnect;
  #now = 0;

  /**
   * `options`: `{auth: {mid, key, platform, deviceId, accepts}, cursor, entries, start, replyMs, random}`; `cursor` and
   * `entries` as the storage has them.
   */
  constructor(options) {
    this.#options = { replyMs: 15_000, start: 'cursor', random: Math.random, ...options };
    const { random, cursor, entries, start } = this.#options;
    this.#reconnect = new Reconnect(random);
    this.#inbox = new Inbox({ cursor, start, random, ports: this.#inboxPorts() });
    this.#outbox = new Outbox({ entries, random, ports: this.#outboxPorts() });
    this.#room = new Room(this.#roomPorts());
    this.#requests = new Requests({
      send: ({ id, fields }) => this.#ask({ do: 'answer', id }, fields),
      answer: (id, error, frame) => this.#do({ do: 'answer', id, error, frame }),
    });
  }

  /** `idle`, `connecting`, `authenticating`, `syncing`, `live`, `waiting`, `stopped`. */
  get phase() {
    return this.#phase;
  }

  get session() {
    return this.#session;
  }

  /** Everything to be done since the last call, in order. */
  take() {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  /** The next time at which `tick` has something to do, or null. */
  deadline() {
    const all = [this.#retryAt, this.#requests.deadline()];
    if (this.#flight !== null) all.push(this.#flight.deadline());
    if (this.#isIn()) all.push(this.#inbox.deadline(), this.#outbox.deadline(), this.#room.deadline(), this.#ackDeadline());
    const first = Math.min(...all.map((at) => at ?? Infinity));
    return first === Infinity ? null : first;
  }

  tick(now) {
    this.#now = now;
    this.#requests.tick(now);
    if (this.#retryAt !== null && this.#retryAt <= now) return this.#connect();
    if (this.#flight?.isDead(now)) return this.#break('REPLY_TIMEOUT', 'the server does not answer');
    if (!this.#isIn()) return;
    if (this.#flight.beatDue(now)) this.#ask({ do: 'heartbeat' }, { op: OP.HEARTBEAT });
    this.#inbox.tick(now);
    this.#outbox.tick(now);
    this.#room.tick(now);
    this.#tellStored();
  }

  /** Connects, and stays connected until `stop`. */
  start(now) {
    this.#now = now;
    if (this.#phase === 'idle' || this.#phase === 'stopped') this.#connect();
  }

  stop(error) {
    if (this.#isUp()) this.#do({ do: 'close' });
    this.#drop();
    this.#retryAt = null;
    this.#requests.fail(error);
    this.#enter('stopped', { error });
  }

  /** A hint that the network is back: tries within a second, if it waits. */
  hurry(now) {
    this.#now = now;
    if (this.#phase !== 'waiting') return;
    this.#retryAt = Math.min(this.#retryAt, now + Math.floor(this.#options.random() * 1000));
    this.#enter('waiting', { retryAt: this.#retryAt });
  }

  /** The connection is made. `token`: what the node asks for, or empty. */
  opened(token, now) {
    this.#now = now;
    this.#enter('authenticating');
    this.#told = this.#inbox.cursor;
    this.#ask({ do: 'auth' }, { op: OP.AUTH, body: authBody(this.#options.auth, this.#told, token) });
  }

  /** A fresh token for the session that is. */
  renew(token, now) {
    this.#now = now;
    if (this.#isIn()) this.#ask({ do: 'renew' }, { op: OP.AUTH, body: authBody(this.#options.auth, this.#told, token) });
  }

  /** A WebSocket message: whole frames. */
  received(bytes, now) {
    this.#now = now;
    if (!this.#isUp()) return;
    let frames;
    try {
      frames = decodeAll(bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      return this.#break('BAD_FRAME', `the server sent what is no frame: ${error.message}`);
    }
    for (const frame of frames) {
      if (!this.#isUp()) return;
      this.#take(frame);
    }
  }

  /** The connection is lost, or could not be made. */
  closed({ code, reason }, now) {
    this.#now = now;
    if (!this.#isUp()) return;
    this.#lose(this.#end ?? { code, reason: reason || 'CONNECTION_LOST', message: 'the connection was lost', retryAfterMs: null });
  }

  /** The application has handled, and the storage kept, all up to `pos`. */
  stored(pos, generation, now) {
    this.#now = now;
    if (!this.#inbox.stored(pos, generation)) return;
    this.#acks.stored(pos);
    this.#tellStored();
  }

  fits(bytes) {
    return this.#outbox.fits(bytes);
  }

  /** A message to send, already persisted: `{cid, kind, conv, body, quiet, atMs}`. */
  enqueue(entry, now) {
    this.#now = now;
    this.#outbox.add(entry, now);
  }

  /** A request of the application: `{id, fields, untilMs}`; its end is the action `answer`. */
  request(request, now) {
    this.#now = now;
    this.#requests.add(request);
  }

  /** A frame that has no answer: said now or never. False: there is no session. */
  say(fields, now) {
    this.#now = now;
    if (this.#isIn()) this.#send({ ...fields, seq: 0 });
    return this.#isIn();
  }

  enterRoom(name, last, now) {
    this.#now = now;
    this.#room.enter(name, last);
  }

  #isUp() {
    return ['connecting', 'authenticating', 'syncing', 'live'].includes(this.#phase);
  }

  #isIn() {
    return this.#phase === 'syncing' || this.#phase === 'live';
  }

  #do(action) {
    this.#actions.push(action);
  }

  #enter(phase, more = {}) {
    this.#phase = phase;
    this.#do({ do: 'phase', phase, ...more });
  }

  #send(fields) {
    this.#do({ do: 'send', bytes: encode(fields) });
  }

  #ask(purpose, fields) {
    this.#send({ ...fields, seq: this.#flight.ask(purpose, this.#now) });
  }

  #connect() {
    this.#retryAt = null;
    this.#end = null;
    this.#flight = new Flight(this.#options.replyMs);
    // Answered when the connection is made: one that hangs counts as dead, too.
    this.#flight.ask({ do: 'connect' }, this.#now);
    this.#enter('connecting');
    this.#do({ do: 'connect' });
  }

  #take(frame) {
    if (frame.op === OP.DISCONNECT) return this.#disconnected(readJson(toText(frame.body)));
    if (frame.seq === 0 || frame.op >= 1000) return this.#pushed(frame);
    const purpose = this.#flight.answered(frame.seq);
    if (purpose !== null) this.#answered(purpose, frame);
    else if (frame.op === OP.SEND_MSG || frame.op === OP.HEAD) this.#pushed(frame);
  }

  #answered(purpose, frame) {
    const error = frame.op === OP.ERROR ? refusedBy(frame) : null;
    switch (purpose.do) {
      case 'auth':
        return error === null ? this.#letIn(frame) : this.#break(error.reason, error.message);
      case 'heartbeat':
        return this.#inbox.hint(frame.pos);
      case 'sync':
        return error === null ? this.#page(frame) : this.#inbox.refused(error, this.#now);
      case 'sent':
        return error === null ? this.#outbox.accepted(purpose.cid, acceptedBy(frame), this.#now) : this.#outbox.refused(purpose.cid, error, this.#now);
      case 'room':
        if (error === null) return this.#room.changed(frame, purpose.asked);
        if (!this.#room.refused(error, purpose.asked, this.#now)) this.#do({ do: 'emit', event: 'error', value: error });
        return;
      case 'answer':
        return this.#requests.answered(purpose.id, error, error === null ? frame : null);
    }
  }

  #letIn(frame) {
    const { place, limits, heartbeatMs, reconnectMs, key, server } = readAuthReply(frame);
    const { mid } = this.#options.auth;
    this.#session = { mid, key, server, limits };
    this.#limits = readLimits(limits);
    this.#flight = new Flight(this.#options.replyMs);
    this.#flight.beat(this.#now, heartbeatMs);
    this.#reconnect.live(this.#now, reconnectMs);
    this.#enter('syncing');
    this.#acks.begin(this.#told?.pos ?? 0n);
    if (mid <= 0n || place.epoch === 0n) this.#inbox.without();
    else this.#inbox.begin(this.#told, place);
    if (!this.#isIn()) return;
    this.#room.begin();
    this.#requests.begin();
  }

  #page(frame) {
    let frames;
    try {
      frames = decodeAll(frame.body);
    } catch (error) {
      return this.#break('BAD_FRAME', `a page of SYNC cannot be read: ${error.message}`);
    }
    this.#inbox.page(frame, frames, this.#now);
  }

  // What the server sends by itself.
  #pushed(frame) {
    if (frame.flags & FLAG.STORED) return this.#inbox.pushed(frame, this.#now);
    if (frame.op === OP.HEAD) {
      if (frame.conv === 0n) return this.#inbox.hint(frame.pos);
      const { kind, conv, convPos } = frame;
      return this.#do({ do: 'emit', event: 'head', value: { kind, conv, convPos } });
    }
    if (frame.op === OP.EPHEMERAL) return this.#do({ do: 'emit', event: 'ephemeral', value: new Message(frame, this.#limits.idEpochMs) });
    if (frame.kind === KIND.ROOM) return this.#room.pushed(frame);
    if (frame.op === OP.SEND_MSG || frame.op >= 1000) this.#do({ do: 'emit', event: 'push', value: new Message(frame, this.#limits.idEpochMs) });
  }

  #ackDeadline() {
    return this.#phase === 'live' && this.#inbox.phase === 'live' ? this.#acks.deadline() : null;
  }

  // Only once live: before, the epoch may turn out to be another.
  #tellStored() {
    if (this.#ackDeadline() === null) return;
    const pos = this.#acks.take(this.#now);
    if (pos !== null) this.#send({ op: OP.ACK, seq: 0, pos });
  }

  #disconnected(json) {
    const code = Number.isInteger(json.code) ? json.code : 4010;
    const [reason, message] = [String(json.reason ?? 'INTERNAL'), String(json.message ?? 'the server ended the session')];
    this.#end = { code, reason, message, retryAfterMs: waitOf(json) };
    this.#break();
  }

  // Ends the connection from this side.
  #break(reason, message) {
    this.#do({ do: 'close' });
    this.#lose(this.#end ?? { code: 0, reason, message, retryAfterMs: null });
  }

  #drop() {
    this.#flight = null;
    this.#session = null;
    this.#inbox.lost();
    this.#outbox.lost();
    this.#room.lost();
    this.#requests.lost();
  }

  #lose(end) {
    this.#drop();
    const waitMs = this.#reconnect.lost(this.#now, end.code, end.retryAfterMs);
    const { code, retryAfterMs } = end;
    const error = new DisconnectedError(end.reason, end.message, { code, retryAfterMs, comesBack: waitMs !== null });
    if (waitMs === null) {
      this.#requests.fail(error);
      return this.#enter('stopped', { error });
    }
    this.#retryAt = this.#now + waitMs;
    this.#enter('waiting', { error, retryAt: this.#retryAt });
  }

  #inboxPorts() {
    return {
      sync: (pos) => this.#ask({ do: 'sync' }, { op: OP.SYNC, pos }),
      deliver: (frame) => this.#deliver(frame),
      moved: (cursor) => {
        this.#acks.begin(cursor.pos);
        this.#do({ do: 'moved', cursor });
      },
      reset: (value) => {
        const error = refused({ reason: 'UNKNOWN', code: 504, message: 'it may have been sent: the inbox that would tell is gone' });
        this.#outbox.unsure(this.#now - this.#limits.cidMs / 2, error);
        this.#do({ do: 'emit', event: 'reset', value });
      },
      live: () => {
        if (this.#phase === 'syncing') this.#enter('live');
        this.#outbox.live(this.#now);
      },
      broken: (message) => this.#break('PROTOCOL', message),
    };
  }

  #deliver(frame) {
    const message = new Message(frame, this.#limits.idEpochMs);
    const own = frame.cid !== 0n && message.from === this.#options.auth.mid && frame.kind !== KIND.EVENT;
    // First: what came back is out of the outbox before the cursor passes it.
    if (own) this.#outbox.accepted(frame.cid, acceptedBy(frame), this.#now);
    this.#do({ do: 'deliver', message, generation: this.#inbox.generation });
  }

  #outboxPorts() {
    return {
      send: ({ cid, kind, conv, body, quiet }) => {
        this.#ask({ do: 'sent', cid }, { op: OP.SEND_MSG, kind, conv, cid, flags: quiet ? FLAG.QUIET : 0, body });
        this.#do({ do: 'sending', cid });
      },
      done: (entry, outcome) => this.#do({ do: 'done', entry, ...outcome }),
    };
  }

  #roomPorts() {
    return {
      change: (asked) => this.#ask({ do: 'room', asked }, { op: OP.CHANGE_ROOM, pos: asked.pos, body: asked.name }),
      deliver: (room, frame) => this.#do({ do: 'emit', event: 'room', value: { room, message: new Message(frame, this.#limits.idEpochMs) } }),
      joined: (room, pos, recovered) => this.#do({ do: 'emit', event: 'joined', value: { room, pos, recovered } }),
      gap: (room, from, to) => this.#do({ do: 'emit', event: 'gap', value: { room, from, to } }),
    };
  }
}
