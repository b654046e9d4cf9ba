// What the chat knows: conversations, their messages, who has read what. Pure: no page, no network.

import { KIND } from '../sdk/index.js';

/** The group of all who came by. */
export const EVERYONE = 1n;
/** Groups that people make have ids from here on, people's mids are below: an event's `conv` does not say which it is. */
export const GROUPS_FROM = 1n << 52n;

/** Whether a conversation's number is a group's. */
export function isGroup(conv) {
  return conv === EVERYONE || conv >= GROUPS_FROM;
}

/** The name under which a conversation is kept. */
export function keyOf(kind, conv) {
  return `${kind}/${conv}`;
}

/** What a body says: this page's JSON, or plain text from elsewhere. */
export function readBody(message) {
  const { json } = message;
  const name = typeof json.name === 'string' ? json.name.slice(0, 40) : '';
  if (json.hello === true) return { hello: true, name, text: '' };
  return { hello: false, name, text: typeof json.text === 'string' ? json.text : message.text };
}

export class Conversation {
  kind;
  conv;
  /** Positions, ascending, without doubles; there may be holes below what was loaded. */
  items = [];
  /** Not accepted yet, in order. */
  pending = [];
  head = 0n;
  read = 0n;
  peerRead = 0n;
  /** The timeline begins here; nothing older can be loaded. */
  floor = 1n;
  title = '';
  lastMs = 0;
  typing = new Map();

  constructor(kind, conv) {
    this.kind = kind;
    this.conv = conv;
  }

  get key() {
    return keyOf(this.kind, this.conv);
  }

  /** The oldest position from which everything up to the newest is here; 0n if nothing is. */
  get oldest() {
    let index = this.items.length - 1;
    while (index > 0 && this.items[index - 1].convPos === this.items[index].convPos - 1n) index -= 1;
    return this.items[index]?.convPos ?? 0n;
  }

  /** What can be shown without a hole. */
  get shown() {
    const { oldest } = this;
    return this.items.filter(({ convPos }) => convPos >= oldest);
  }

  get newest() {
    return this.items.at(-1) ?? null;
  }

  /** How many messages of others are above the read position. */
  unread(me) {
    const counts = ({ convPos, from, counted }) => counted && convPos > this.read && from !== me;
    return this.items.filter(counts).length;
  }

  /** The last thing said, for the list. */
  get preview() {
    return this.pending.at(-1) ?? this.items.findLast(({ type }) => type === 'text' || type === 'gone') ?? this.newest;
  }

  put(item) {
    let index = this.items.length;
    while (index > 0 && this.items[index - 1].convPos > item.convPos) index -= 1;
    if (this.items[index - 1]?.convPos === item.convPos) this.items[index - 1] = item;
    else this.items.splice(index, 0, item);
    if (item.convPos > this.head) this.head = item.convPos;
    if (item.atMs > this.lastMs && item.type !== 'line') this.lastMs = item.atMs;
    this.pending = this.pending.filter(({ cid }) => cid !== item.cid);
  }
}

export class Model {
  me;
  conversations = new Map();
  names = new Map();
  #byId = new Map();

  constructor(me) {
    this.me = me;
  }

  conversation(kind, conv) {
    const key = keyOf(kind, conv);
    let found = this.conversations.get(key);
    if (found === undefined) {
      found = new Conversation(kind, conv);
      this.conversations.set(key, found);
    }
    return found;
  }

  /** The conversation that an event is of. */
  of(conv) {
    return this.conversation(isGroup(conv) ? KIND.GROUP : KIND.DIRECT, conv);
  }

  /** Conversations, the last spoken in first. */
  list() {
    return [...this.conversations.values()].sort((one, other) => other.lastMs - one.lastMs || (one.key < other.key ? -1 : 1));
  }

  unread() {
    return this.list().reduce((total, conversation) => total + conversation.unread(this.me), 0);
  }

  /** Takes a message of the inbox or of a page; answers with its conversation, or null. Twice is once. */
  take(message) {
    if (message.kind === KIND.EVENT) return this.#event(message);
    if (message.kind !== KIND.DIRECT && message.kind !== KIND.GROUP) return null;
    return this.#put(this.conversation(message.kind, message.conv), message);
  }

  #put(conversation, message) {
    const { convPos, id, from, cid, gone, quiet, acceptedMs } = message;
    const { hello, name, text } = gone ? { hello: false, name: '', text: '' } : readBody(message);
    if (name !== '') this.names.set(from, name);
    const type = gone ? 'gone' : hello ? 'line' : 'text';
    const item = { type, convPos, id, from, cid, text, atMs: acceptedMs, counted: !gone && !quiet, line: hello ? { word: 'hello' } : null };
    conversation.put(item);
    this.#byId.set(id, { conversation, convPos });
    // Who writes has read.
    if (from === this.me && !quiet && convPos > conversation.read) conversation.read = convPos;
    conversation.typing.delete(from);
    return conversation;
  }

  #event(message) {
    const { event, from, conv, convPos } = message;
    if (event === null) return null;
    if (event.type === 'read') return this.#read(from, conv, BigInt(event.conv_pos ?? 0));
    if (event.type === 'rejected') return this.#rejected(String(event.cid ?? ''), String(event.reason ?? 'REJECTED'));
    const conversation = this.of(conv);
    if (event.type === 'recall') this.#recalled(String(event.id ?? ''), conversation, event.conv_pos);
    if (convPos > 0n) conversation.put(this.#line(message, event));
    return conversation;
  }

  // Every position has its item, so that holes can be told; not every event is worth a line.
  #line({ convPos, id, from, acceptedMs }, event) {
    const list = (value) => (Array.isArray(value) ? value.slice(0, 20).map((mid) => BigInt(mid)) : []);
    const line = event.type === 'members' ? { word: 'members', added: list(event.add), removed: list(event.remove) } : { word: event.type };
    return { type: 'line', convPos, id, from, cid: 0n, text: '', atMs: acceptedMs, counted: false, line };
  }

  #read(from, conv, convPos) {
    const conversation = this.of(conv);
    const name = from === this.me ? 'read' : 'peerRead';
    if (convPos > conversation[name]) conversation[name] = convPos;
    return conversation;
  }

  #recalled(id, conversation, convPos) {
    const known = /^\d+$/.test(id) ? this.#byId.get(BigInt(id)) : undefined;
    const place = known ?? { conversation, convPos: BigInt(convPos ?? 0) };
    const item = place.conversation.items.find((one) => one.convPos === place.convPos);
    if (item) Object.assign(item, { type: 'gone', text: '', counted: false });
  }

  #rejected(cid, reason) {
    for (const conversation of this.conversations.values()) {
      const item = conversation.pending.find((one) => String(one.cid) === cid);
      if (item) {
        Object.assign(item, { state: 'failed', reason });
        return conversation;
      }
    }
    return null;
  }

  /** A message on its way out. */
  outgoing({ cid, kind, conv, body, atMs }) {
    const conversation = this.conversation(kind, conv);
    const { text, hello } = readBody({ json: parse(body), text: '' });
    if (hello || conversation.pending.some((one) => one.cid === cid) || conversation.items.some((one) => one.cid === cid)) return conversation;
    conversation.pending.push({ type: 'text', convPos: 0n, id: 0n, from: this.me, cid, text, atMs, counted: false, line: null, state: 'queued' });
    conversation.lastMs = Math.max(conversation.lastMs, atMs);
    return conversation;
  }

  /** What became of it: `queued`, `sent`, `accepted`, `failed`. */
  outbox({ cid, state, error }) {
    for (const conversation of this.conversations.values()) {
      const item = conversation.pending.find((one) => one.cid === cid);
      if (!item) continue;
      Object.assign(item, { state, reason: error?.reason ?? '' });
      return conversation;
    }
    return null;
  }

  /** Takes a failed message out again; answers with it. */
  discard(conversation, cid) {
    const item = conversation.pending.find((one) => one.cid === cid);
    conversation.pending = conversation.pending.filter((one) => one !== item);
    return item ?? null;
  }

  /** The list of conversations as the server has it. */
  heads(heads) {
    for (const { kind, conv, head, read } of heads) {
      const conversation = this.conversation(kind, conv);
      if (head > conversation.head) conversation.head = head;
      if (read > conversation.read) conversation.read = read;
    }
  }

  /** Somebody types; until `untilMs`. */
  typing(kind, conv, from, untilMs) {
    const conversation = this.conversation(kind, conv);
    conversation.typing.set(from, untilMs);
    return conversation;
  }
}

function parse(body) {
  try {
    return JSON.parse(new TextDecoder().decode(body)) ?? {};
  } catch {
    return {};
  }
}
