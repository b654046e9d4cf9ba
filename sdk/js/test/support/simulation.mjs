// Clients (the core, an application, a storage) against the double, in virtual time: connections are cut, processes die, pushes
// are lost and doubled, requests refused. Reproducible: everything random comes from one seed.

import { mintCid } from '../../src/int64.js';
import { KIND } from '../../src/tables.js';
import { Peer } from './peer.mjs';
import { World } from './world.mjs';

/** mulberry32: numbers in [0, 1) from a seed. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const START_MS = 1_000_000;

export class Simulation {
  nowMs = START_MS;
  #events = [];
  #order = 0;
  faulty = true;
  loud = true;
  mistakes = [];

  constructor(Core, seed) {
    this.Core = Core;
    this.random = seeded(seed);
    this.world = new World({ lag: true, cidMs: 20_000, heartbeatMs: 5_000, reconnectMs: 1_000 });
    this.world.nowMs = this.nowMs;
    this.clients = [1n, 2n, 3n].map((mid) => new SimulatedClient(this, mid));
    this.world.group(50n, [1n, 2n, 3n]);
  }

  chance(share) {
    return this.random() < share;
  }

  below(end) {
    return Math.floor(this.random() * end);
  }

  after(ms, work) {
    this.#order += 1;
    this.#events.push({ at: this.nowMs + ms, order: this.#order, work });
  }

  /** Lets time pass, event by event. */
  run(forMs) {
    const end = this.nowMs + forMs;
    for (;;) {
      this.#events.sort((a, b) => a.at - b.at || a.order - b.order);
      const next = this.#events[0];
      if (next === undefined || next.at > end) break;
      this.#events.shift();
      this.nowMs = Math.max(this.nowMs, next.at);
      this.world.nowMs = this.nowMs;
      next.work();
    }
    this.nowMs = end;
    this.world.nowMs = end;
  }

  wrong(message) {
    this.mistakes.push(message);
  }

  /** Trouble for a while, then none; answers with what went wrong. */
  play(forMs) {
    for (const client of this.clients) client.boot();
    this.#project();
    this.#disturb();
    for (const client of this.clients) client.chat();
    this.run(forMs);
    // Nobody speaks or falls any more, but pushes are still lost: nothing follows that would show it.
    this.loud = false;
    this.run(10_000);
    this.faulty = false;
    this.run(90_000);
    for (const client of this.clients) client.judge();
    return this.mistakes;
  }

  // The event log is read a moment after it was written.
  #project() {
    this.world.project();
    this.after(1 + this.below(200), () => this.#project());
  }

  #disturb() {
    if (!this.loud) return;
    const client = this.clients[this.below(this.clients.length)];
    if (this.chance(0.5)) client.cut();
    else if (this.chance(0.3)) client.crash(this.chance(0.2) ? 30_000 : 2_000);
    this.after(this.below(2_500), () => this.#disturb());
  }
}

class SimulatedClient {
  #sim;
  #line = null;
  #wanted = 0;
  #life = 0;
  #timer = 0;
  core = null;
  mid;
  // What survives a crash: the storage of the SDK, and the application's own, written together with the cursor.
  #disk = { cursor: null, entries: new Map(), seen: [] };
  #memory = [];
  #unfinished = [];
  #keptAt = 0;
  sent = [];

  constructor(sim, mid) {
    this.#sim = sim;
    this.mid = mid;
  }

  boot() {
    const { random } = this.#sim;
    this.#life += 1;
    this.#memory = [...this.#disk.seen];
    this.#unfinished = [];
    this.#keptAt = 0;
    const entries = [...this.#disk.entries.values()].map((entry) => ({ ...entry, tried: true }));
    const auth = { mid: this.mid, key: '', platform: 'web', deviceId: 'd', accepts: [] };
    this.core = new this.#sim.Core({ auth, cursor: this.#disk.cursor, entries, random, start: 'floor', replyMs: 6_000 });
    this.turn((core, now) => core.start(now));
  }

  crash(forMs) {
    if (this.core === null) return;
    this.core = null;
    this.#life += 1;
    this.#line?.cut();
    this.#sim.after(1 + this.#sim.below(forMs), () => this.boot());
  }

  cut() {
    this.#line?.cut();
  }

  turn(input) {
    if (this.core === null) return;
    input(this.core, this.#sim.nowMs);
    for (let actions = this.core.take(); actions.length > 0; actions = this.core.take()) for (const action of actions) this.#act(action);
    this.#wake();
  }

  #wake() {
    const at = this.core.deadline();
    this.#timer += 1;
    const [timer, life] = [this.#timer, this.#life];
    if (at === null) return;
    this.#sim.after(Math.max(0, at - this.#sim.nowMs), () => {
      if (timer === this.#timer && life === this.#life) this.turn((core, now) => core.tick(now));
    });
  }

  #act(action) {
    if (action.do === 'connect') this.#line = new Line(this.#sim, this);
    else if (action.do === 'send') this.#line.up(action.bytes);
    else if (action.do === 'close') this.#line.hang();
    else if (action.do === 'deliver' || action.do === 'moved') this.#handle(action);
    else if (action.do === 'done') this.#finished(action);
    if (action.do === 'emit' && action.event === 'reset') this.#sim.wrong(`${this.mid}: a reset, though nothing was lost`);
  }

  // The application handles a message, and some time later all is kept together.
  #handle(action) {
    if (action.do === 'deliver') this.#memory.push(action.message);
    const { message, cursor, generation = null } = action;
    this.#keep(cursor ?? { epoch: this.#sim.world.user(this.mid).epoch, pos: message.pos }, generation);
  }

  #finished({ entry, state, error }) {
    if (state === 'failed') this.#sim.wrong(`${this.mid}: a message failed: ${error.reason}`);
    this.#unfinished.push(entry.cid);
    this.#keep(null, null);
  }

  // What is kept is kept in order, some of it late.
  #keep(cursor, generation) {
    const [seen, done, life] = [[...this.#memory], this.#unfinished.splice(0), this.#life];
    const delayMs = this.#sim.below(this.#sim.chance(0.1) ? 3_000 : 60);
    this.#keptAt = Math.max(this.#keptAt, this.#sim.nowMs + delayMs);
    this.#sim.after(this.#keptAt - this.#sim.nowMs, () => {
      if (life !== this.#life) return;
      for (const cid of done) this.#disk.entries.delete(cid);
      if (cursor === null) return;
      this.#disk.seen = seen;
      this.#disk.cursor = cursor;
      if (generation !== null) this.turn((core, now) => core.stored(cursor.pos, generation, now));
    });
  }

  /** Says something every now and then. */
  chat() {
    if (!this.#sim.loud) return;
    if (this.core !== null) {
      for (let burst = 1 + this.#sim.below(4); burst > 0; burst -= 1) this.#say();
    }
    this.#sim.after(this.#sim.below(3_000), () => this.chat());
  }

  #say() {
    this.#wanted += 1;
    const group = this.#sim.chance(0.5);
    const [kind, conv] = group ? [KIND.GROUP, 50n] : [KIND.DIRECT, (this.mid % 3n) + 1n];
    const cid = mintCid((words) => words.map(() => this.#sim.random() * 2 ** 32));
    const body = new TextEncoder().encode(`${this.mid}:${this.#wanted}`);
    const entry = { cid, kind, conv, body, quiet: false, atMs: this.#sim.nowMs };
    this.#disk.entries.set(cid, { ...entry });
    this.sent.push({ kind, text: `${this.mid}:${this.#wanted}` });
    this.turn((core, now) => core.enqueue(entry, now));
  }

  connectionLost() {
    this.turn((core, now) => core.closed({ code: 1006, reason: '' }, now));
  }

  /** Everything once, in order, and nothing told that is not kept. */
  judge() {
    const { world } = this.#sim;
    const wrong = (message) => this.#sim.wrong(`${this.mid}: ${message}`);
    const user = world.user(this.mid);
    const positions = this.#disk.seen.map(({ pos }) => pos);
    if (positions.some((pos, index) => pos !== BigInt(index + 1))) wrong('positions are not 1, 2, 3 …');
    if (positions.length !== user.log.length) wrong(`${positions.length} of ${user.log.length} messages seen`);
    if (this.#disk.entries.size > 0) wrong(`${this.#disk.entries.size} messages never left`);
    for (const kind of [KIND.DIRECT, KIND.GROUP]) {
      const mine = user.log.filter((frame) => frame.from === this.mid && frame.kind === kind).map(({ body }) => new TextDecoder().decode(body));
      const wanted = this.sent.filter((one) => one.kind === kind).map(({ text }) => text);
      if (mine.join() !== wanted.join()) wrong(`kind ${kind}: sent ${wanted.length}, stored ${mine.length}, or in another order`);
    }
  }

  /** What the server believes this device has must be on its disk. */
  checkCursor() {
    const told = this.#sim.world.user(this.mid).devices.get('d') ?? 0n;
    if (told > (this.#disk.cursor?.pos ?? 0n)) this.#sim.wrong(`${this.mid}: told ${told}, stored ${this.#disk.cursor?.pos}`);
  }
}

/** One connection: two queues that keep their order, until one end is gone. */
class Line {
  #sim;
  #client;
  #peer = null;
  #up = true;
  #clock = { up: 0, down: 0 };

  constructor(sim, client) {
    this.#sim = sim;
    this.#client = client;
    const refuses = () => sim.faulty && sim.chance(0.06);
    const faults = {
      drops: () => sim.faulty && sim.chance(0.08),
      doubles: () => sim.faulty && sim.chance(0.08),
      refuse: () => (refuses() ? (sim.chance(0.5) ? 'before' : 'after') : null),
      behind: () => sim.chance(0.5),
    };
    this.#later('down', () => {
      if (sim.faulty && sim.chance(0.2)) return this.cut();
      this.#peer = new Peer(sim.world, { send: (bytes) => this.down(bytes), close: () => this.cut(), faults });
      client.turn((core, now) => core.opened('', now));
    });
  }

  #later(way, work) {
    // A late one makes those behind it late: the order stays.
    this.#clock[way] = Math.max(this.#clock[way], this.#sim.nowMs + 1 + this.#sim.below(40));
    this.#sim.after(this.#clock[way] - this.#sim.nowMs, () => this.#up && work());
  }

  up(bytes) {
    this.#later('up', () => {
      this.#peer.receive(bytes);
      this.#client.checkCursor();
    });
  }

  down(bytes) {
    this.#later('down', () => this.#client.turn((core, now) => core.received(bytes, now)));
  }

  /** The client hangs up. */
  hang() {
    this.#up = false;
    this.#peer?.gone();
  }

  /** The network does: what is on its way is lost. */
  cut() {
    if (!this.#up) return;
    this.hang();
    this.#client.connectionLost();
  }
}
