// The page without the program: its files, the double of the SDK's tests, and as much of the push API as the page uses.
//   node chat/test/mock-server.mjs [port]

import { existsSync, readFileSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { KIND } from '../../sdk/js/src/tables.js';
import { startServer } from '../../sdk/js/test/support/server.mjs';
import { World } from '../../sdk/js/test/support/world.mjs';

const FOLDER = fileURLToPath(new URL('..', import.meta.url));
const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws://127.0.0.1:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/** Starts it: `{url, world, cut, close}`; `url` is the page's. */
export async function startMock({ port = 0, world = new World({ reconnectMs: 500, recallMs: 120_000 }) } = {}) {
  let ws = '';
  const onRequest = (request, response) => {
    const path = new URL(request.url, 'http://mock').pathname;
    if (path === '/chat/config.json') return json(response, 200, { ws: [ws], insecure: true });
    if (path.startsWith('/chat/')) return file(response, path.slice('/chat/'.length));
    if (path.startsWith('/v1/')) {
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () => json(response, ...answer(world, request.method, path, body === '' ? {} : JSON.parse(body))));
      return true;
    }
    return false;
  };
  const server = await startServer({ world, port, onRequest });
  ws = `127.0.0.1:${server.port}`;
  return { ...server, url: `http://${ws}/chat/` };
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  return true;
}

function file(response, name) {
  const path = join(FOLDER, normalize(name === '' ? 'index.html' : name));
  if (!path.startsWith(FOLDER) || !existsSync(path)) return false;
  response.writeHead(200, { 'content-type': `${TYPES[extname(path)]}; charset=utf-8`, 'content-security-policy': POLICY, 'cache-control': 'no-store' });
  response.end(readFileSync(path));
  return true;
}

function answer(world, method, path, body) {
  const group = /^\/v1\/groups\/(\d+)(\/members)?$/.exec(path);
  if (group) return groups(world, method, BigInt(group[1]), body);
  if (path === '/v1/users:online') {
    return [200, { users: body.mids.map((mid) => ({ mid, online: world.user(BigInt(mid)).sessions.size > 0 })) }];
  }
  if (path === '/v1/messages') {
    world.nowMs = Date.now();
    world.roomPush(body.to.room, { from: BigInt(body.from), conv: 0n, body: Buffer.from(body.body) });
    return [200, { id: '1', accepted: true }];
  }
  const room = /^\/v1\/rooms\/(\w+)\/(\w+)$/.exec(path);
  if (room) return [200, { online: world.room(`${room[1]}://${room[2]}`).sessions.size }];
  return [404, { reason: 'NOT_FOUND', detail: 'no such path' }];
}

function groups(world, method, id, { members = [], name = '', add = [] }) {
  const known = world.groups.get(id);
  const shown = (one) => ({ id: Number(id), kind: 'group', name: one.name ?? '', members: [...one.members].map(Number), version: 1 });
  if (method === 'GET') return known ? [200, shown(known)] : [404, { reason: 'NOT_FOUND', detail: 'no such group' }];
  if (method === 'PUT') {
    world.group(id, members.map(BigInt));
    world.groups.get(id).name = name;
    tellMembers(world, id, members);
    return [200, shown(world.groups.get(id))];
  }
  const fresh = add.map(BigInt).filter((mid) => !known.members.has(mid));
  for (const mid of fresh) known.members.add(mid);
  if (fresh.length > 0) tellMembers(world, id, fresh.map(Number));
  return [200, { version: 2 }];
}

function tellMembers(world, id, add) {
  world.nowMs = Date.now();
  world.event(id, { type: 'members', add, remove: [], version: 1 });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await startMock({ port: Number(process.argv[2] ?? 3111) });
  console.log(url);
}
