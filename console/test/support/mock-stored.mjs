// The mock node's inboxes and groups: user 9 has a full inbox, user 11 one of which nothing is kept, all others an empty one;
// groups 42 (a group) and 77 (a large channel) are there.

import { problem } from './mock-api.mjs';

const EPOCH_MS = 1_704_067_200_000;
const HEADS = { 9: 1340, 11: 60 };
const FLOORS = { 9: 1201, 11: 61 };
const BODIES_PER_PAGE = 7;
const HOSTILE = '<img src=x onerror=alert(1)>';
const MEMBERS = 1200;

const base64 = (body) => Buffer.from(body).toString('base64');

/** What the node tells of a user's inbox beside the sessions. */
export function inboxState(node, mid) {
  if (!node.keeps) return {};
  const { head, floor } = inbox(node, mid);
  const seen_ms = node.startedMs;
  const devices = [
    { device_id: 'iPhone 15', cursor: head - node.came, seen_ms },
    { device_id: HOSTILE, cursor: 1322, seen_ms },
    { device_id: 'tablet', cursor: 1100, seen_ms: seen_ms - 86_400_000 },
  ];
  return { inbox: { head, floor, epoch: EPOCH_MS }, devices: mid === '9' ? devices : [] };
}

function inbox(node, mid) {
  const head = (HEADS[mid] ?? 0) + (mid === '9' ? node.came : 0);
  return { head, floor: FLOORS[mid] ?? head + 1 };
}

/** Answers a call for stored messages, or null if it is none. */
export function answerStored(node, path, query) {
  const [, mid] = /^\/v1\/users\/(\d+)\/inbox$/.exec(path) ?? [];
  const [, group, messages] = /^\/v1\/groups\/(\d+)(\/messages)?$/.exec(path) ?? [];
  if (!mid && !group) return null;
  if (!node.keeps) return problem(501, 'UNSUPPORTED', 'this node keeps no messages: only what is not stored can be sent');
  if (node.busy) return problem(503, 'UNAVAILABLE', 'the store is busy: try again');
  if (mid) return page(inbox(node, mid), query, (pos) => inInbox(pos, HEADS[mid] ?? 0), { epoch: EPOCH_MS });
  const known = groups(node)[group];
  if (!known) return problem(404, 'NOT_FOUND', 'there is no such group: PUT /v1/groups/{id} makes it');
  if (!messages) return { status: 200, headers: {}, answer: known };
  return page({ head: known.head, floor: 1 }, query, (pos) => inTimeline(pos, known), { kind: known.kind });
}

function groups(node) {
  const lunch = { id: 42, kind: 'group', owner: 7, name: `Lunch ${HOSTILE}`, members: [7, 8, 9], version: 1, head: 31 + node.came };
  const news = { id: 77, kind: 'channel', owner: 0, name: '', members: Array.from({ length: MEMBERS }, (_, index) => 1000 + index), version: 3, head: 0 };
  return node.dissolved ? { 77: news } : { 42: lunch, 77: news };
}

// Cut by bytes as the node does: less than was asked for, and more to come.
function page({ head, floor }, query, entryAt, more) {
  const after = Number(query.get('after') ?? 0);
  if (after > head) return problem(400, 'BAD_REQUEST', `after is above the newest position, ${head}`);
  if (after !== 0 && after < floor - 1) return problem(410, 'TOO_OLD', `what follows is not kept any more: ask for what is after ${floor - 1}`);
  const first = Math.max(after + 1, floor);
  const last = Math.min(head, first + Math.min(Number(query.get('limit') ?? 100), BODIES_PER_PAGE) - 1);
  const positions = Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
  return { status: 200, headers: {}, answer: { head, floor, ...more, more: last < head, messages: positions.map(entryAt) } };
}

function entry(pos, fields) {
  const id = (BigInt(700 * 86_400_000 + pos * 61_000) << 22n) + BigInt(pos);
  return { id: String(id), pos: 0, op: 4, kind: 0, conv: 0, conv_pos: 0, from: 0, cid: '0', flags: 0, body_base64: '', ...fields };
}

// One of each sort, again and again; the newest are the same wherever the head is.
function inInbox(pos, head) {
  const members = '{"type":"members","kind":2,"add":[9],"remove":[],"version":12}';
  const sorts = [
    { kind: 1, conv: 8, conv_pos: pos, from: 8, body_base64: base64(`see you at ${pos} ☄ 流星`) },
    { kind: 2, conv: 42, conv_pos: pos, from: 7, body_base64: base64(HOSTILE) },
    { kind: 0, op: 1000, body_base64: base64('{"title":"Notice","text":"The office is closed on Monday"}') },
    { kind: 5, conv: 42, conv_pos: pos, from: 7, flags: 32, body_base64: base64(members) },
    { kind: 1, conv: 8, conv_pos: pos, from: 9, flags: 4 },
    { kind: 1, conv: 8, conv_pos: pos, from: 8, op: 1001, body_base64: base64(Uint8Array.from({ length: 300 }, (_, index) => 255 - (index % 256))) },
    { kind: 2, conv: 42, conv_pos: pos, from: 8, body_base64: base64(`${'long'.repeat(80)} \u202e right to left`) },
  ];
  const sort = pos > head ? { kind: 1, conv: 8, conv_pos: pos, from: 8, body_base64: base64(`came ${pos}`) } : sorts[(head - pos) % sorts.length];
  return entry(pos, { ...sort, pos, flags: (sort.flags ?? 0) | 1 });
}

function inTimeline(pos, { id }) {
  if (pos === 1) return entry(pos, { kind: 5, conv: id, conv_pos: 1, from: 7, flags: 32, body_base64: base64('{"type":"members","kind":2,"add":[7,8,9],"remove":[],"version":1}') });
  return entry(pos, { kind: 2, conv: id, conv_pos: pos, from: 7 + (pos % 3), body_base64: base64(pos === 31 ? HOSTILE : `line ${pos}`) });
}
