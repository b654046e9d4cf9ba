// One session of the double: frames in, frames out. The first frame is AUTH.

import { frame as complete, decodeAll, encode, toText } from '../../src/frame.js';
import { fnv1a64 } from '../../src/int64.js';
import { FLAG, KIND, OP } from '../../src/tables.js';
import { Refusal } from './world.mjs';

export class Peer {
  #world;
  #send;
  #close;
  user = null;
  device = '';
  live = false;
  #withheld = false;
  #room = null;
  #foreign = false;
  #failed = false;
  over = false;

  /** `send(bytes)` to the client; `close(code, reason)` ends the connection. `faults` may refuse: see `refuse` below. */
  constructor(world, { send, close, faults = {} }) {
    this.#world = world;
    this.#send = send;
    this.#close = close;
    this.faults = faults;
  }

  receive(bytes) {
    for (const frame of decodeAll(bytes)) if (!this.over) this.#take(frame);
  }

  gone() {
    this.over = true;
    this.user?.sessions.delete(this);
    this.#leave();
  }

  end(code, reason, more = {}) {
    if (this.over) return;
    this.#out({ op: OP.DISCONNECT, body: JSON.stringify({ code, reason, message: reason, ...more }) });
    this.gone();
    this.#close(code, reason);
  }

  /** A stored frame for this user. */
  push(frame) {
    if (!this.live) this.#withheld = true;
    else this.#fallible(frame);
  }

  pushRoom(name, frame) {
    this.#fallible({ ...frame, conv: fnv1a64(name) });
  }

  ephemeral(frame) {
    this.#out(frame);
  }

  // The network below a server never loses a frame; a server's node may.
  #fallible(frame) {
    if (this.faults.drops?.()) return;
    this.#out(frame);
    if (this.faults.doubles?.()) this.#out(frame);
  }

  #out(fields) {
    this.#send(encode(complete(fields)));
  }

  #take(frame) {
    if (this.user === null && frame.op !== OP.AUTH) return this.end(4501, 'BAD_FRAME');
    try {
      this.#answer(frame);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { seq, kind, conv, convPos, cid } = frame;
      if (frame.op === OP.SEND_MSG) this.#failed = true;
      if (seq === 0) return;
      const json = { code: error.code, reason: error.reason, message: `refused: ${error.reason}`, detail: error.detail };
      this.#out({ op: OP.ERROR, seq, kind, conv, convPos, cid, body: JSON.stringify(json) });
    }
  }

  #answer(frame) {
    const { seq } = frame;
    const reply = (fields) => this.#out({ op: frame.op + 1, seq, ...fields });
    const mid = this.user?.mid;
    switch (frame.op) {
      case OP.AUTH:
        return this.#auth(frame);
      case OP.HEARTBEAT:
        return reply({ pos: this.#world.head(this.user), body: Buffer.alloc(4) });
      case OP.SEND_MSG:
        return this.#sent(frame, reply);
      case OP.SYNC:
        return this.#sync(frame, reply);
      case OP.ACK:
        return this.#ack(frame.pos);
      case OP.PULL: {
        const { frames, head, more } = this.#world.pull(mid, frame, limitOf(frame));
        return reply({ kind: frame.kind, conv: frame.conv, convPos: head, pos: 1n, flags: more ? FLAG.MORE : 0, body: pack(frames) });
      }
      case OP.READ:
        return reply({ kind: frame.kind, conv: frame.conv, convPos: this.#world.read(mid, frame) });
      case OP.HEADS:
        return reply({ body: pack(this.#world.heads(mid)) });
      case OP.RECALL:
        this.#world.recall(mid, frame);
        return reply({ kind: frame.kind, conv: frame.conv, convPos: frame.convPos });
      case OP.EPHEMERAL:
        return this.#relay(frame);
      case OP.CHANGE_ROOM:
        return this.#changeRoom(frame, reply);
      case OP.SUB:
      case OP.UNSUB:
        return reply({ body: frame.body });
      default:
        throw new Refusal(400, 'BAD_REQUEST');
    }
  }

  #auth(frame) {
    const json = JSON.parse(toText(frame.body));
    const world = this.#world;
    if (json.token === 'wrong') return this.end(4500, 'UNAUTHENTICATED');
    const user = world.user(BigInt(json.mid));
    this.user = user;
    this.device = json.device_id || json.platform;
    user.sessions.add(this);
    const head = world.head(user);
    const [pos, epoch] = [BigInt(json.pos ?? 0), BigInt(json.epoch ?? 0)];
    this.#foreign = epoch !== 0n && epoch !== user.epoch;
    if (epoch === user.epoch && pos <= head) this.#ack(pos);
    this.live = epoch === user.epoch && pos === head;
    const body = JSON.stringify({
      mid: Number(user.mid),
      key: 'k',
      server: 'double',
      heartbeat_ms: world.heartbeatMs,
      reconnect_ms: world.reconnectMs,
      epoch: Number(user.epoch),
      floor: Number(user.floor),
      head: Number(head),
      cursor: Number(user.devices.get(this.device) ?? 0n),
      limits: { body_bytes: 65536, cid_ms: world.cidMs, recall_ms: world.recallMs, id_epoch_ms: 0 },
    });
    this.#out({ op: OP.AUTH_REPLY, seq: frame.seq, pos: head, body });
  }

  #sent(frame, reply) {
    // One that fails takes those in flight behind it along, until a whole answer was read: here, until it is told to go on.
    if (this.#failed && this.faults.behind?.()) throw new Refusal(503, 'UNAVAILABLE');
    this.#failed = false;
    const fault = this.faults.refuse?.();
    if (fault === 'before') throw new Refusal(503, 'UNAVAILABLE');
    const { id, kind, duplicate } = this.#world.send(this.user.mid, frame);
    if (fault === 'after') throw new Refusal(504, 'UNKNOWN');
    reply({ id, kind, conv: frame.conv, from: this.user.mid, cid: frame.cid, flags: duplicate ? FLAG.DUPLICATE : 0 });
  }

  #sync(frame, reply) {
    const { user } = this;
    if (this.#foreign) {
      this.#foreign = false;
      const detail = { epoch: Number(user.epoch), floor: Number(user.floor), head: Number(this.#world.head(user)) };
      throw new Refusal(412, 'EPOCH_CHANGED', detail);
    }
    const { frames, head, more } = this.#world.sync(user, frame.pos, limitOf(frame));
    reply({ pos: head, flags: more ? FLAG.MORE : 0, body: pack(frames) });
    if (more || this.live) return;
    this.live = true;
    if (this.#withheld) this.#out({ op: OP.HEAD, pos: this.#world.head(user) });
  }

  #ack(pos) {
    if (pos > this.#world.head(this.user)) throw new Refusal(400, 'BAD_REQUEST');
    const { devices } = this.user;
    if (pos > (devices.get(this.device) ?? 0n)) devices.set(this.device, pos);
  }

  #relay(frame) {
    const from = this.user.mid;
    const group = this.#world.groups.get(frame.conv);
    const others = frame.kind === KIND.DIRECT ? [frame.conv] : [...(group?.members ?? [])].filter((mid) => mid !== from);
    for (const mid of others) {
      const conv = frame.kind === KIND.DIRECT ? from : frame.conv;
      for (const session of this.#world.user(mid).sessions) session.ephemeral({ ...frame, seq: 0, from, conv });
    }
  }

  #changeRoom(frame, reply) {
    const name = toText(frame.body);
    this.#leave();
    if (name === '') return reply({ body: '' });
    this.#room = name;
    const room = this.#world.room(name);
    room.sessions.add(this);
    const oldest = room.head - BigInt(room.frames.length) + 1n;
    const lost = frame.pos !== 0n && (frame.pos + 1n < oldest || frame.pos > room.head);
    if (frame.pos !== 0n && !lost) for (const one of room.frames) if (one.pos > frame.pos) this.#out({ ...one, conv: fnv1a64(name) });
    reply({ pos: room.head, flags: lost ? FLAG.GONE : 0, body: name });
  }

  #leave() {
    if (this.#room !== null) this.#world.room(this.#room).sessions.delete(this);
    this.#room = null;
  }
}

function limitOf(frame) {
  const asked = frame.body.byteLength === 4 ? new DataView(frame.body.buffer, frame.body.byteOffset).getUint32(0) : 0;
  return asked === 0 ? 100 : Math.min(200, asked);
}

function pack(frames) {
  return Buffer.concat(frames.map((fields) => encode(complete({ ...fields, seq: 0 }))));
}
