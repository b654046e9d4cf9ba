// A node that is not there: the page's files, moving numbers, the API and a small gateway. For developing the page.
// `node mock-server.mjs [http-port] [ws-port]`; ports default to free ones. `/mock/{drain,fail,kick,burst,token,limit,keep,busy,come,dissolve}`
// make things happen; with `token` it wants one of the tokens of support/mock-api.mjs.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

import * as codec from '../js/protocol/frames.js';
import { OP } from '../js/protocol/tables.js';
import { answerApi, problem } from './support/mock-api.mjs';
import { accept } from '../../sdk/js/test/support/websocket.mjs';

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
  "require-trusted-types-for 'script'";
const HEARTBEAT_MS = 240_000;

/** Listens on loopback; answers with `{url, ws, node, close()}`. */
export async function start({ http = 0, ws = 0, idle = false } = {}) {
  const node = new MockNode(idle);
  const page = createServer((request, response) => node.serve(request, response).catch(() => response.destroy()));
  const gateway = createServer((_, response) => response.writeHead(404).end());
  gateway.on('upgrade', (request, socket) => {
    if (request.url.split('?')[0] !== '/sub') return socket.end('HTTP/1.1 404 Not Found\r\n\r\n');
    node.connect(request, socket);
  });
  const listen = (server, port) => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  await Promise.all([listen(page, http), listen(gateway, ws)]);
  node.listen = {
    tcp: ['127.0.0.1:3101'],
    ws: [`127.0.0.1:${gateway.address().port}`],
    http: [`127.0.0.1:${page.address().port}`],
  };
  const close = () => {
    clearInterval(node.timer);
    for (const session of node.sessions) session.connection.close(4001, 'DRAINING');
    page.close();
    page.closeAllConnections();
    gateway.close();
    gateway.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${page.address().port}`, ws: `ws://${node.listen.ws[0]}/sub`, node, close };
}

class MockNode {
  sessions = new Set();
  listen = null;
  failing = false;
  draining = false;
  drain = null;
  /** Tokens are asked for. */
  guarded = false;
  /** The next call is answered with 429. */
  limited = false;
  poisoned = null;
  /** Messages are kept: there are inboxes and groups. */
  keeps = true;
  /** Inboxes and timelines can't be read now. */
  busy = false;
  /** Messages that came to every inbox and timeline while it runs, and whether the group is there. */
  came = 0;
  dissolved = false;
  bornMs = Date.now();
  startedMs = Date.now() - 3 * 86_400_000 - 4 * 3_600_000;
  /** How fast its clock runs: 3 fills the plots in 100 s. */
  speed = Number(process.env.MOCK_SPEED ?? 1);
  pushed = 0;
  counters = {
    accepted: { tcp: 18_204, websocket: 40_112 },
    left: 41_377,
    ended: { SLOW_CONSUMER: 12, HEARTBEAT_TIMEOUT: 903, DRAINING: 0, BAD_FRAME: 4, REPLACED: 77 },
    frames_received: 1_204_331,
    bytes_received: 48_112_930,
    heartbeats: 1_100_312,
    upstream: 7_204,
    pushes: { keys: 1_203, mids: 84_022, room: 30_411, all: 6 },
    delivered: { direct: 90_144, room: 9_204_118, all: 71_204 },
    dropped: { offline: 3_114, filtered: 402, expired: 0, slow: 87, closing: 5, collapsed: 31 },
    writes: 4_402_114,
    bytes_sent: 918_220_114,
  };

  constructor(idle) {
    if (idle) {
      zero(this.counters);
      this.idle = true;
      return;
    }
    this.timer = setInterval(() => this.move(0.1), 100);
  }

  // What flows in `seconds`: waves and a little noise.
  move(seconds) {
    const wave = (period, phase = 0) => 1 + Math.sin((Date.now() / 1000 / period) * 2 * Math.PI + phase);
    const add = (group, name, perSecond) => {
      group[name] += Math.max(0, Math.round(perSecond * seconds * (0.8 + 0.4 * Math.random())));
    };
    const { delivered, dropped, pushes } = this.counters;
    add(delivered, 'room', 2400 * wave(90));
    add(delivered, 'direct', 420 * wave(41, 1));
    if (wave(60, 2) > 1.9) add(delivered, 'all', 900);
    add(pushes, 'room', 60 * wave(90));
    add(pushes, 'mids', 180 * wave(41, 1));
    if (wave(33) > 1.7) add(dropped, 'slow', 60);
    add(dropped, 'offline', 40 * wave(70));
    add(this.counters, 'writes', 900 * wave(90));
    add(this.counters, 'bytes_sent', 240_000 * wave(90));
    add(this.counters, 'heartbeats', 180);
    add(this.counters, 'frames_received', 190);
    add(this.counters, 'bytes_received', 4_000);
  }

  stats() {
    const wave = this.idle ? 0 : Math.sin(Date.now() / 40_000);
    const mine = this.sessions.size;
    const tcp = this.idle ? 0 : 12_480 + Math.round(900 * wave);
    const websocket = (this.idle ? 0 : 31_204 + Math.round(2_100 * wave)) + mine;
    const rooms = this.idle ? [] : [18_204, 9_120, 4_411, 320, 12].map((online, index) => ({ room: `live://${1000 + index}`, online }));
    const own = new Map();
    for (const { room } of this.sessions) if (room) own.set(room, (own.get(room) ?? 0) + 1);
    for (const [room, online] of own) {
      const known = rooms.find((candidate) => candidate.room === room);
      if (known) known.online += online;
      else rooms.push({ room, online });
    }
    return {
      version: '0.1.0',
      node: 'mock-0',
      started_ms: this.startedMs,
      now_ms: this.bornMs + Math.round((Date.now() - this.bornMs) * this.speed),
      draining: this.draining,
      ready: !this.draining,
      listen: this.listen,
      connections: { tcp, websocket: websocket + (this.idle ? 0 : 3) },
      sessions: { tcp, websocket },
      users: Math.round((tcp + websocket) * 0.91),
      rooms: rooms.length,
      top_rooms: rooms.sort((a, b) => b.online - a.online),
      counters: this.counters,
      latency: this.latency(),
      process: { cpu_ms: Math.round((Date.now() - this.bornMs) * 0.31), rss_bytes: 212_000_000 + Math.round(9e6 * wave), open_fds: 61_204, cores: 2 },
      queued_bytes: this.idle ? 0 : Math.round(380_000 * (1 + wave)),
      blocked: wave > 0.7 ? 3 : 0,
      log: { first: 1, end: 115_642 + this.pushed, bytes: 67_108_864, lag: 0, poisoned: this.poisoned },
    };
  }

  // Histograms that move a little: most values in the middle.
  latency() {
    const bounds_ms = [0.1, 0.5, 1, 5, 10, 50];
    const ticks = Math.floor((Date.now() - this.bornMs) / 100);
    const histogram = (shift) => ({ bounds_ms, counts: [0, 1, 2, 3, 4, 5, 6].map((bucket) => ticks * Math.max(0, 5 - Math.abs(bucket - shift) * 2)) });
    return { append: histogram(2), sync: histogram(2), request: histogram(3), lag_ms: 1 };
  }

  async serve(request, response) {
    const url = new URL(request.url, 'http://mock');
    const { pathname } = url;
    const say = (status, type, body, more = {}) => {
      response.writeHead(status, {
        'content-type': type,
        'cache-control': 'no-cache',
        'content-security-policy': POLICY,
        'x-content-type-options': 'nosniff',
        ...more,
      });
      response.end(body);
    };
    const json = ({ status, answer, headers }) =>
      say(status, status < 400 ? 'application/json' : 'application/problem+json', answer === null ? '' : JSON.stringify(answer), headers);
    if (pathname === '/console/stats.json' && this.failing) return say(503, 'text/plain', 'failing');
    if (pathname === '/console/stats.json' || pathname.startsWith('/v1/')) {
      const body = request.method === 'GET' ? '' : await text(request);
      return json(answerApi(this, { method: request.method, url, body, token: request.headers.authorization }));
    }
    if (pathname.startsWith('/mock/')) return say(200, 'text/plain', this.happen(pathname.slice(6)));
    const name = pathname === '/' ? 'index.html' : /^\/console\/((?:[a-z]+\/)?[a-z-]+\.(?:js|css|svg))$/.exec(pathname)?.[1];
    if (!name) return say(404, 'text/plain', 'not found');
    const path = fileURLToPath(new URL(extname(name) === '.js' ? `../js/${name}` : `../${name}`, import.meta.url));
    const file = await readFile(path).catch(() => null);
    if (file === null) return say(404, 'text/plain', 'not found');
    return say(200, `${TYPES[extname(name)]}; charset=utf-8`, file);
  }

  happen(what) {
    if (what === 'drain') this.draining = !this.draining;
    if (what === 'fail') this.failing = !this.failing;
    if (what === 'token') this.guarded = !this.guarded;
    if (what === 'keep') this.keeps = !this.keeps;
    if (what === 'busy') this.busy = !this.busy;
    if (what === 'come') this.came += 1;
    if (what === 'dissolve') this.dissolved = !this.dissolved;
    if (what === 'limit') this.limited = true;
    if (what === 'burst') for (let index = 0; index < 2000; index += 1) this.deliver(() => true, 1000, Buffer.from(`burst ${index}`), 0);
    if (what === 'kick') for (const session of this.sessions) session.end(4503, 'KICKED', 'an operator ended this session');
    return `${what}\n`;
  }

  push(json) {
    let message;
    try {
      message = JSON.parse(json);
    } catch {
      return problem(400, 'BAD_REQUEST', 'the body is no JSON');
    }
    const { to, op = 1000, body_base64: bytes, body = Buffer.from(bytes ?? '', 'base64') } = message;
    if (op < 1000) return problem(400, 'BAD_REQUEST', 'op: pushes use 1000 and more');
    const meant = (session) =>
      to.all || to.room === session.room || to.mids?.map(String).includes(session.mid) || to.keys?.includes(session.key);
    const way = to.all ? 'all' : to.room ? 'room' : to.keys ? 'keys' : 'mids';
    const recipients = this.deliver(meant, op, Buffer.from(body), to.room ? 4 : 0);
    this.pushed += 1;
    this.counters.pushes[way] += 1;
    this.counters.delivered[way === 'keys' || way === 'mids' ? 'direct' : way] += recipients;
    if (recipients === 0) this.counters.dropped.offline += 1;
    return { status: 202, answer: { id: String(7_301_234_567_890_123_456n + BigInt(this.pushed)), accepted: true, recipients, duplicate: false } };
  }

  deliver(meant, op, body, kind) {
    let recipients = 0;
    for (const session of this.sessions) {
      if (!meant(session) || (kind !== 4 && !session.accepts.includes(op))) continue;
      session.push(op, body, kind);
      recipients += 1;
    }
    return recipients;
  }

  connect(request, socket) {
    const session = new MockSession(this);
    session.connection = accept(request, socket, {
      onMessage: (bytes) => session.message(new Uint8Array(bytes)),
      onClose: () => this.sessions.delete(session),
    });
  }
}

class MockSession {
  extended = false;
  mid = null;
  key = '';
  room = '';
  accepts = [];
  connection = null;
  #node;

  constructor(node) {
    this.#node = node;
  }

  message(bytes) {
    try {
      for (const { frame } of codec.decodeAll(bytes, 64 * 1024)) this.#take(frame);
    } catch (error) {
      this.end(error.fault === 'too_large' ? 4502 : 4501, error.fault === 'too_large' ? 'FRAME_TOO_LARGE' : 'BAD_FRAME', error.message);
    }
  }

  push(op, body, kind) {
    if (this.extended) {
      const conv = kind === 4 ? codec.roomHash(this.room) : 0n;
      this.connection.send(codec.encode({ headerLen: 72, ver: 2, op, id: 7_301_234_567_890_123_456n, conv, kind, body }));
    } else {
      this.connection.send(codec.encode({ op: OP.RAW, body: codec.encode({ op, body }) }));
    }
  }

  end(code, reason, message) {
    if (this.extended) {
      const body = JSON.stringify({ code, reason, message, ...(code < 4500 && { retry_after_ms: 5000 }) });
      this.connection.send(codec.encode({ headerLen: 72, ver: 2, op: OP.DISCONNECT, body }));
    }
    this.connection.close(code, reason);
  }

  #reply(request, op, body = '', fields = {}) {
    const { ver, seq } = request;
    this.connection.send(codec.encode({ headerLen: this.extended ? 72 : 16, ver, op, seq, body, ...fields }));
  }

  #take(frame) {
    const words = Buffer.from(frame.body).toString();
    if (this.mid === null && frame.op !== OP.AUTH) return this.end(4501, 'BAD_FRAME', 'the first frame must be AUTH');
    switch (frame.op) {
      case OP.AUTH:
        return this.#auth(frame, words);
      case OP.HEARTBEAT: {
        this.#node.counters.heartbeats += 1;
        const online = this.#node.stats().top_rooms.find(({ room }) => room === this.room)?.online ?? 0;
        return this.#reply(frame, OP.HEARTBEAT_REPLY, codec.encodeUint32(online));
      }
      case OP.CHANGE_ROOM:
        this.room = words;
        return this.#reply(frame, OP.CHANGE_ROOM_REPLY, words);
      case OP.SUB:
        this.accepts.push(...(codec.parseOperations(words) ?? []));
        return this.#reply(frame, OP.SUB_REPLY, words);
      case OP.UNSUB:
        this.accepts = this.accepts.filter((op) => !codec.parseOperations(words)?.includes(op));
        return this.#reply(frame, OP.UNSUB_REPLY, words);
    }
    if (this.extended && frame.op < 33) {
      const error = { code: 501, reason: 'UNSUPPORTED', message: 'this node stores no messages yet' };
      return this.#reply(frame, OP.ERROR, JSON.stringify(error), { kind: frame.kind, conv: frame.conv, cid: frame.cid });
    }
    this.#node.counters.upstream += 1;
    this.#reply(frame, frame.op);
  }

  #auth(frame, words) {
    const { mid = 0, room_id: room = '', accepts = [], key } = JSON.parse(words);
    this.extended = frame.ver >= 2;
    Object.assign(this, { mid: String(mid), room, accepts, key: key || crypto.randomUUID() });
    this.#node.sessions.add(this);
    const reply = { mid, key: this.key, server: 'mock-0', heartbeat_ms: HEARTBEAT_MS, reconnect_ms: 10_000, epoch: 1, floor: 1, head: 0, cursor: 0 };
    this.#reply(frame, OP.AUTH_REPLY, this.extended ? JSON.stringify(reply) : '');
  }
}

function zero(group) {
  for (const [name, value] of Object.entries(group)) {
    if (typeof value === 'object') zero(value);
    else group[name] = 0;
  }
}

async function text(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [http, ws] = process.argv.slice(2).map(Number);
  const { url } = await start({ http, ws });
  console.log(url);
}
