// The stored part of the protocol in memory: a double of the server for tests, written from the protocol's text alone.

import { FLAG, KIND, OP } from '../../src/tables.js';

const DAY_MS = 86_400_000;

/** A refusal: `reason` and `code` as on the wire. */
export class Refusal extends Error {
  constructor(code, reason, detail) {
    super(reason);
    Object.assign(this, { code, reason, detail });
  }
}

export class World {
  users = new Map();
  convs = new Map();
  groups = new Map();
  rooms = new Map();
  cids = new Map();
  nowMs = 0;
  #lastId = 0n;
  #waiting = [];

  /** `lag`: accepted messages come into inboxes only with `project()`. */
  constructor({ lag = false, cidMs = 3_600_000, recallMs = DAY_MS, ring = 100, reconnectMs = 1000, heartbeatMs = 60_000 } = {}) {
    Object.assign(this, { lag, cidMs, recallMs, ring, reconnectMs, heartbeatMs });
  }

  user(mid) {
    let user = this.users.get(mid);
    if (user === undefined) {
      user = { mid, epoch: 1000n, floor: 1n, log: [], reads: new Map(), devices: new Map(), sessions: new Set() };
      this.users.set(mid, user);
    }
    return user;
  }

  head(user) {
    return user.floor - 1n + BigInt(user.log.length);
  }

  group(id, members, kind = KIND.GROUP) {
    this.groups.set(id, { id, kind, members: new Set(members) });
  }

  nextId() {
    this.#lastId = (BigInt(Math.floor(this.nowMs)) << 22n) | ((this.#lastId + 1n) & 0x3fffffn);
    return this.#lastId;
  }

  /** SEND_MSG: `{id, kind, duplicate}`, or throws Refusal. */
  send(from, { kind, conv, cid, body, flags }) {
    if (kind < KIND.DIRECT || kind > KIND.CHANNEL) throw new Refusal(403, 'PERMISSION_DENIED');
    if (cid === 0n) throw new Refusal(400, 'BAD_REQUEST');
    const text = Buffer.from(body).toString('latin1');
    const key = `${from}/${kind}/${conv}/${cid}`;
    const known = this.cids.get(key);
    if (known !== undefined && this.nowMs - known.atMs <= this.cidMs) {
      if (known.text !== text) throw new Refusal(409, 'CONFLICT');
      return { id: known.id, kind, duplicate: true };
    }
    if (kind !== KIND.DIRECT && !this.groups.get(conv)?.members.has(from)) throw new Refusal(404, 'NOT_MEMBER');
    const id = this.nextId();
    this.cids.set(key, { id, text, atMs: this.nowMs });
    this.#accept(() => this.#spread({ op: OP.SEND_MSG, kind, conv, from, cid, id, body, flags: flags & FLAG.QUIET }));
    return { id, kind, duplicate: false };
  }

  #accept(work) {
    this.#waiting.push(work);
    if (!this.lag) this.project();
  }

  /** Brings what was accepted into timelines and inboxes. */
  project() {
    for (const work of this.#waiting.splice(0)) work();
  }

  conv(kind, one, other) {
    const name = kind === KIND.DIRECT ? `1/${[one, other].sort((a, b) => (a < b ? -1 : 1)).join('/')}` : `2/${other}`;
    let conv = this.convs.get(name);
    if (conv === undefined) {
      conv = { log: [] };
      this.convs.set(name, conv);
    }
    return conv;
  }

  #members({ kind, conv, from }) {
    return kind === KIND.DIRECT ? new Set([from, conv]) : this.groups.get(conv).members;
  }

  // Into the timeline, and into the inbox of everybody, each with the conversation as he sees it.
  #spread(message, inTimeline = message) {
    const { log } = this.conv(inTimeline.kind, message.from, inTimeline.conv);
    const entry = { ...message, convPos: BigInt(log.length + 1), members: this.#members(inTimeline) };
    log.push(entry);
    for (const mid of entry.members) this.inboxAppend(mid, this.seenBy(mid, entry, inTimeline.kind));
  }

  seenBy(mid, entry, kind = entry.kind) {
    const { members, ...fields } = entry;
    const conv = kind === KIND.DIRECT && entry.conv === mid ? entry.from : entry.conv;
    return { ...fields, conv };
  }

  inboxAppend(mid, fields) {
    const user = this.user(mid);
    const frame = { ...fields, seq: 0, pos: this.head(user) + 1n, flags: fields.flags | FLAG.STORED };
    user.log.push(frame);
    for (const session of user.sessions) session.push(frame);
  }

  /** SYNC: `{frames, head, more}`. */
  sync(user, after, limit) {
    const head = this.head(user);
    const detail = { epoch: Number(user.epoch), floor: Number(user.floor), head: Number(head) };
    if (after > head) throw new Refusal(412, 'EPOCH_CHANGED', detail);
    if (after !== 0n && after + 1n < user.floor) throw new Refusal(410, 'TOO_OLD', detail);
    const from = after === 0n ? 0 : Number(after - (user.floor - 1n));
    const frames = user.log.slice(from, from + limit);
    return { frames, head, more: from + frames.length < user.log.length };
  }

  #readable(mid, { kind, conv }) {
    if (kind !== KIND.DIRECT && !this.groups.get(conv)?.members.has(mid)) throw new Refusal(404, 'NOT_MEMBER');
    return this.conv(kind, mid, conv).log;
  }

  /** PULL: `{frames, head, more}`. */
  pull(mid, { kind, conv, convPos, flags }, limit) {
    const log = this.#readable(mid, { kind, conv });
    const head = BigInt(log.length);
    if (convPos > head + (flags & FLAG.MORE ? 1n : 0n)) throw new Refusal(400, 'BAD_REQUEST');
    const back = Boolean(flags & FLAG.MORE);
    const end = back ? Number(convPos === 0n ? head : convPos - 1n) : Math.min(log.length, Number(convPos) + limit);
    const start = back ? Math.max(0, end - limit) : Number(convPos);
    const frames = log.slice(start, end).map((entry) => ({ ...this.seenBy(mid, entry, kind), pos: 0n }));
    return { frames, head, more: back ? start > 0 : end < log.length };
  }

  heads(mid) {
    const own = [];
    for (const [name, { log }] of this.convs) {
      const [kind, ...ids] = name.split('/').map(BigInt);
      const conv = kind === 1n ? (ids.includes(mid) ? (ids[0] === mid ? ids[1] : ids[0]) : null) : ids[0];
      if (conv === null || (kind === 2n && !this.groups.get(conv)?.members.has(mid)) || log.length === 0) continue;
      const read = this.user(mid).reads.get(`${kind}/${conv}`) ?? 0n;
      own.push({ op: OP.HEAD, kind: Number(kind), conv, convPos: BigInt(log.length), pos: read, id: log.at(-1).id });
    }
    return own.sort((a, b) => a.kind - b.kind || (a.conv < b.conv ? -1 : 1));
  }

  read(mid, { kind, conv, convPos }) {
    const log = this.#readable(mid, { kind, conv });
    if (convPos > BigInt(log.length)) throw new Refusal(400, 'BAD_REQUEST');
    const { reads } = this.user(mid);
    const before = reads.get(`${kind}/${conv}`) ?? 0n;
    if (convPos <= before) return before;
    reads.set(`${kind}/${conv}`, convPos);
    const event = { op: OP.SEND_MSG, kind: KIND.EVENT, from: mid, convPos: 0n, cid: 0n, id: this.nextId(), flags: FLAG.QUIET };
    const body = Buffer.from(JSON.stringify({ type: 'read', conv_pos: Number(convPos) }));
    this.inboxAppend(mid, { ...event, conv, body });
    if (kind === KIND.DIRECT && conv !== mid) this.inboxAppend(conv, { ...event, conv: mid, body });
    return convPos;
  }

  recall(mid, { kind, conv, convPos }) {
    const entry = this.#readable(mid, { kind, conv })[Number(convPos) - 1];
    if (entry === undefined) throw new Refusal(400, 'BAD_REQUEST');
    if (entry.flags & FLAG.GONE) return;
    if (entry.from !== mid) throw new Refusal(403, 'PERMISSION_DENIED');
    const gone = (frame) => Object.assign(frame, { body: Buffer.alloc(0), flags: frame.flags | FLAG.GONE });
    gone(entry);
    for (const member of entry.members) {
      for (const frame of this.user(member).log) if (frame.id === entry.id) gone(frame);
    }
    const body = Buffer.from(JSON.stringify({ type: 'recall', conv_pos: Number(convPos), id: String(entry.id) }));
    const event = { op: OP.SEND_MSG, kind: KIND.EVENT, conv: entry.conv, from: mid, cid: 0n, id: this.nextId(), body, flags: FLAG.QUIET };
    this.#spread(event, { kind, conv: entry.conv === mid ? conv : entry.conv, from: mid });
  }

  /** An event of a group, from the system. */
  event(group, json) {
    const body = Buffer.from(JSON.stringify(json));
    const event = { op: OP.SEND_MSG, kind: KIND.EVENT, conv: group, from: 0n, cid: 0n, id: this.nextId(), body, flags: FLAG.QUIET };
    this.#spread(event, { kind: KIND.GROUP, conv: group, from: 0n });
  }

  /** Business: a push to a room that keeps its last frames. */
  roomPush(name, fields) {
    const room = this.room(name);
    room.head += 1n;
    const frame = { op: 1000, kind: KIND.ROOM, seq: 0, id: this.nextId(), ...fields, pos: room.head };
    room.frames.push(frame);
    while (room.frames.length > this.ring) room.frames.shift();
    for (const session of room.sessions) session.pushRoom(name, frame);
  }

  room(name) {
    let room = this.rooms.get(name);
    if (room === undefined) {
      room = { head: 40n, frames: [], sessions: new Set() };
      this.rooms.set(name, room);
    }
    return room;
  }

  /** Positions below `floor` are kept no more. */
  trim(mid, floor) {
    const user = this.user(mid);
    user.log.splice(0, Math.max(0, Number(floor - user.floor)));
    if (floor > user.floor) user.floor = floor;
  }

  /** The store lost everything of a user. */
  lose(mid) {
    const user = this.user(mid);
    Object.assign(user, { epoch: user.epoch + 1n, floor: 1n, log: [] });
    user.devices.clear();
    for (const session of [...user.sessions]) session.end(4004, 'RESYNC');
  }
}
