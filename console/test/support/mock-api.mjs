// The mock node's API: users, rooms, nodes, drains, and who may ask.

import { answerStored, inboxState } from './mock-stored.mjs';

/** Tokens and their scopes. */
export const TOKENS = { 'pk-all': ['push', 'read', 'admin'], 'pk-read': ['read'] };
const DRAIN_MS = 4000;

/** A problem document as the node makes them. */
export function problem(status, reason, detail, headers = {}) {
  return { status, headers, answer: { type: `urn:perseid:problem:${reason}`, title: reason, status, detail, reason } };
}

/** Answers a call: `{status, answer, headers}`. */
export function answerApi(node, { method, url, body, token }) {
  const path = url.pathname;
  const scope = path === '/v1/messages' ? 'push' : method === 'DELETE' || (method === 'POST' && path.endsWith(':drain')) ? 'admin' : 'read';
  if (node.guarded) {
    const scopes = TOKENS[/^Bearer (.+)$/.exec(token ?? '')?.[1]];
    if (!scopes) return problem(401, 'UNAUTHENTICATED', 'this needs a token', { 'www-authenticate': 'Bearer' });
    if (!scopes.includes(scope)) return problem(403, 'PERMISSION_DENIED', `this token lacks the scope "${scope}"`);
  }
  if (node.limited && method === 'POST') {
    node.limited = false;
    return problem(429, 'RATE_LIMITED', 'too many calls with this token', { 'retry-after': '7' });
  }
  const ok = (answer, status = 200) => ({ status, answer, headers: {} });
  if (path === '/console/stats.json') return ok(node.stats());
  if (path === '/v1/messages' && method === 'POST') return node.push(body);
  if (path === '/v1/nodes') return ok({ nodes: nodes(node) });
  if (path === '/v1/rooms') return ok({ rooms: rooms(node, url.searchParams) });
  if (path === '/v1/users:online') {
    const users = JSON.parse(body).mids.map((mid) => ({ mid, online: mid % 2 === 1, platforms: mid % 2 === 1 ? ['web', 'ios'] : [] }));
    return ok({ users });
  }
  const user = /^\/v1\/users\/(\d+)$/.exec(path);
  if (user) return ok({ mid: Number(user[1]), sessions: sessions(node, user[1]), ...inboxState(node, user[1]) });
  const stored = answerStored(node, path, url.searchParams);
  if (stored !== null) return stored;
  const kick = /^\/v1\/users\/(\d+)\/sessions$/.exec(path);
  if (kick && method === 'DELETE') return ok({ ended: end(node, kick[1], url.searchParams) });
  if (path === '/v1/nodes/mock-0:drain') return drain(node, method, body, ok);
  return problem(404, 'NOT_FOUND', 'no such path');
}

function nodes(node) {
  const { version, sessions, listen, started_ms } = node.stats();
  const other = { id: 'mock-1', role: 'comet', tcp: ['10.0.0.8:3101'], ws: ['10.0.0.8:3102'], sessions: 18_111, ips: 9_000, draining: false, version, started_ms };
  const mine = { id: 'mock-0', role: 'comet', tcp: listen.tcp, ws: listen.ws, sessions: sessions.tcp + sessions.websocket, ips: 30_000, draining: node.draining, version, started_ms };
  return [mine, other];
}

function rooms(node, query) {
  const type = query.get('type') ?? '';
  const all = node.stats().top_rooms.map(({ room, online }) => ({ room, online, type: room.split('://')[0], id: room.split('://')[1] }));
  return all.filter((room) => type === '' || room.type === type).slice(0, Number(query.get('limit') ?? 100));
}

// The sessions of the gateway, and for user 9 two that are made up: one with names that try to be markup.
function sessions(node, mid) {
  const real = [...node.sessions].filter((session) => session.mid === mid);
  const known = real.map(({ key, extended }) => ({ key, node: 'mock-0', platform: 'web', device_id: 'web', address: '127.0.0.1:51312', since_ms: node.bornMs, extended }));
  if (mid !== '9' || node.nineEnded) return known;
  const hostile = '<img src=x onerror=alert(1)>';
  const invented = { node: 'mock-0', since_ms: node.startedMs, extended: true };
  return [
    { key: 'a81f4c1e-6a0b-4c53-9d3e-0f6f2f0c7a11', platform: 'ios', device_id: 'iPhone 15', address: '203.0.113.44:51122', ...invented },
    { key: hostile, platform: hostile, device_id: hostile, address: '[2001:db8::7]:443', ...invented },
    ...known,
  ];
}

function end(node, mid, query) {
  const key = query.get('key');
  const before = sessions(node, mid).filter((session) => key === null || session.key === key);
  for (const session of node.sessions) {
    if (session.mid === mid && (key === null || session.key === key)) session.end(4503, 'KICKED', query.get('reason') ?? '');
  }
  if (mid === '9' && key === null) node.nineEnded = true;
  return before.length;
}

function drain(node, method, body, ok) {
  if (method === 'POST') {
    const { per_second } = JSON.parse(body);
    const { tcp, websocket } = node.stats().sessions;
    node.drain = { sessions_at_start: tcp + websocket, per_second, since_ms: Date.now() };
    node.draining = true;
    return ok(null, 202);
  }
  if (node.drain === null) return problem(404, 'NOT_FOUND', 'this node is not draining');
  const share = Math.min(1, (Date.now() - node.drain.since_ms) / DRAIN_MS);
  return ok({ ...node.drain, sessions: Math.round(node.drain.sessions_at_start * (1 - share)) });
}
