// Stored messages as the push API tells them: their parts, and the pages that a reader goes back through. No page in here.

import { query } from './api.js';
import * as format from './format.js';
import { FLAGS, KINDS } from './protocol/tables.js';

/** Messages of a page; positions are dense, so that a page is a range of them. */
export const PAGE_SIZE = 20;
/** The node cuts pages by bytes too: so many calls at most for one page. */
const CALLS_MAX = PAGE_SIZE;
/** 2024-01-01T00:00:00Z: the ms of message ids count from here (`limits.id_epoch_ms`). */
const ID_EPOCH_MS = 1_704_067_200_000n;
const GONE_STATUS = 410;
const EVENT = KINDS.indexOf('event');
const NOWHERE = { kind: null, id: 0 };

/** When a message was accepted, unix ms, told by its id; null if that is none. */
export function timeOf(id) {
  if (!/^[0-9]{1,20}$/.test(id)) return null;
  return Number((BigInt(id) >> 22n) + ID_EPOCH_MS);
}

/** The bytes of a body; null if it is no base64. */
export function bytesOf(base64) {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

/** What an event says, as an object; anything else is an empty one. */
function eventOf(text) {
  try {
    const told = JSON.parse(text);
    return told !== null && typeof told === 'object' ? told : {};
  } catch {
    return {};
  }
}

const text = (value) => (typeof value === 'string' ? value : '');
const whole = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : 0);

// An event is about a conversation of another kind, which its body tells.
function conversation(kind, conv, event) {
  const real = kind === EVENT ? event.kind : kind;
  return conv === 0 ? NOWHERE : { kind: (Number.isInteger(real) && KINDS[real]) || null, id: conv };
}

/** A message of an answer with its parts read: every one of them comes from outside. */
export function messageOf(entry) {
  const kind = whole(entry.kind);
  const bytes = bytesOf(text(entry.body_base64));
  const body = bytes === null ? null : format.asText(bytes);
  const event = kind === EVENT && body !== null ? eventOf(body) : {};
  const flags = whole(entry.flags);
  return {
    id: text(entry.id),
    timeMs: timeOf(text(entry.id)),
    pos: whole(entry.pos),
    convPos: whole(entry.conv_pos),
    op: Number.isInteger(entry.op) ? entry.op : 0,
    kind: KINDS[kind] ?? null,
    conv: conversation(kind, whole(entry.conv), event),
    from: whole(entry.from),
    event: text(event.type),
    bytes,
    body,
    gone: (flags & FLAGS.GONE) !== 0,
    quiet: (flags & FLAGS.QUIET) !== 0,
  };
}

/** How far a device is behind: `{behind, lost}`; `lost` of these are not kept any more. */
export function progressOf({ head, floor }, cursor) {
  const behind = Math.max(0, head - cursor);
  return { behind, lost: Math.min(behind, Math.max(0, floor - 1 - cursor)) };
}

/** The page that ends with `last`, or with the nearest that is kept: `{first, last}`; null if nothing is kept. */
export function pageUpTo(last, { head, floor }) {
  if (head === 0 || floor > head) return null;
  const end = Math.min(head, Math.max(last, Math.min(head, floor + PAGE_SIZE - 1)));
  return { first: Math.max(floor, end - PAGE_SIZE + 1), last: end };
}

/**
 * Reads the page of `path` that ends with `last` (`Infinity`: the newest), oldest first: `{head, floor, first, last, messages}`.
 * `get(path)` answers with JSON or throws a Problem; `known`: head and floor as they were last told; `position`: `pos` or `convPos`.
 */
export async function readPage(get, { path, position, known, last = Infinity }) {
  const range = pageUpTo(last, known);
  if (range === null) return { ...known, first: 0, last: 0, messages: [] };
  try {
    return await readRange(get, path, position, range);
  } catch (problem) {
    if (problem.status !== GONE_STATUS) throw problem;
    // The floor rose meanwhile, or was never told.
    const { head, floor } = await get(`${path}${query({ limit: 1 })}`);
    const now = { head: whole(head), floor: whole(floor) };
    const kept = pageUpTo(last, now);
    return kept === null ? { ...now, first: 0, last: 0, messages: [] } : readRange(get, path, position, kept);
  }
}

async function readRange(get, path, position, { first, last }) {
  const messages = [];
  let answer = null;
  let at = first - 1;
  for (let call = 0; call < CALLS_MAX && at < last; call += 1) {
    answer = await get(`${path}${query({ after: at, limit: last - at })}`);
    const came = (Array.isArray(answer.messages) ? answer.messages : []).map(messageOf).filter((message) => message[position] > at);
    if (came.length === 0) break;
    messages.push(...came);
    at = came.at(-1)[position];
  }
  return { head: whole(answer?.head), floor: whole(answer?.floor), first, last, messages };
}
