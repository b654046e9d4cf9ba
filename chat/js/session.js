// Between the SDK and what the chat knows.

import { Client, KIND } from '../sdk/index.js';
import { EVERYONE } from './model.js';

const PAGE = 50;
const PREVIEWS_MAX = 40;
const RECEIPTS_MAX = 200;
const TYPING_SAID_MS = 3_000;
const TYPING_SHOWN_MS = 5_000;

export class Session {
  client;
  #model;
  #name;
  #changed;
  #saidTyping = new Map();
  #reading = new Map();
  #loaded = false;

  /** `changed(conversation or null)` after every change. */
  constructor({ url, mid, name, model, changed, failed }) {
    this.#model = model;
    this.#name = name;
    this.#changed = changed;
    this.client = new Client({ url, mid, platform: 'web', deviceId: 'chat', accepts: [1000], start: 'head' });
    this.#restoreReceipts();
    this.client.on('message', (message) => {
      const conversation = model.take(message);
      if (message.event?.type === 'read') this.#keepReceipts();
      changed(conversation);
    });
    this.client.on('ephemeral', (message) => this.#typed(message));
    this.client.on('outbox', (change) => changed(model.outbox(change)));
    this.client.on('reset', () => this.#load().catch(failed));
    this.client.on('error', failed);
    this.client.on('state', ({ phase }) => {
      changed(null);
      if (phase !== 'live' || this.#loaded) return;
      this.#loaded = true;
      this.#load().catch((error) => {
        this.#loaded = false;
        failed(error);
      });
    });
  }

  async start() {
    for (const entry of await this.client.start()) this.#model.outgoing(entry);
    this.#changed(null);
  }

  // The list of conversations, and the end of each.
  async #load() {
    for (let after = {}, more = true; more; ) {
      const page = await this.client.heads({ ...after, limit: 200 });
      this.#model.heads(page.heads);
      more = page.more && page.heads.length > 0;
      after = page.heads.at(-1) ?? {};
    }
    const spoken = [...this.#model.conversations.values()].slice(0, PREVIEWS_MAX);
    for (const conversation of spoken) await this.older(conversation, true);
    this.#changed(null);
  }

  /** Loads a page of what is older than what is here; `end`: of the end. */
  async older(conversation, end = false) {
    const { kind, conv } = conversation;
    const page = await this.client.pull({ kind, conv, before: end ? 0n : conversation.oldest, limit: PAGE });
    for (const message of page.messages) this.#model.take(message);
    if (page.floor > 0n) conversation.floor = page.floor;
    if (!page.more && page.messages.length > 0) conversation.floor = page.messages[0].convPos;
    this.#changed(conversation);
  }

  /** Goes into the outbox at once; the page shows it as soon as it is kept. */
  async say(conversation, text) {
    const { kind, conv } = conversation;
    const body = JSON.stringify({ text, name: this.#name });
    this.#saidTyping.delete(conversation.key);
    const outgoing = await this.client.send({ kind, conv, body });
    this.#changed(this.#model.outgoing(outgoing));
  }

  /** Tells the others this name, where they do not know it. */
  async hello() {
    if (this.#model.names.get(this.#model.me) === this.#name) return;
    this.#model.names.set(this.#model.me, this.#name);
    const { accepted } = await this.client.send({ kind: KIND.GROUP, conv: EVERYONE, body: JSON.stringify({ hello: true, name: this.#name }), quiet: true });
    await accepted;
  }

  /** All that is here was seen. */
  async read(conversation) {
    const { kind, conv, head, key } = conversation;
    if (head <= conversation.read || head <= (this.#reading.get(key) ?? 0n)) return;
    this.#reading.set(key, head);
    try {
      conversation.read = await this.client.read({ kind, conv, convPos: head });
    } finally {
      this.#reading.delete(key);
    }
    this.#changed(conversation);
  }

  async recall({ kind, conv }, { convPos }) {
    await this.client.recall({ kind, conv, convPos });
  }

  /** The user types: said at most every three seconds. */
  typing({ kind, conv, key }) {
    const now = performance.now();
    if (now - (this.#saidTyping.get(key) ?? -Infinity) < TYPING_SAID_MS) return;
    this.#saidTyping.set(key, now);
    this.client.ephemeral({ kind, conv, body: JSON.stringify({ typing: true, name: this.#name }) });
  }

  // Receipts come once, through the inbox; the server can be asked for one's own position only.
  #keepReceipts() {
    const known = this.#model.list().filter(({ peerRead }) => peerRead > 0n);
    const kept = Object.fromEntries(known.slice(0, RECEIPTS_MAX).map(({ conv, peerRead }) => [conv, String(peerRead)]));
    try {
      localStorage.setItem(`perseid.chat.receipts/${this.#model.me}`, JSON.stringify(kept));
    } catch {
      // Without storage they are forgotten with the page.
    }
  }

  #restoreReceipts() {
    try {
      const kept = JSON.parse(localStorage.getItem(`perseid.chat.receipts/${this.#model.me}`) ?? '{}');
      for (const [conv, pos] of Object.entries(kept)) this.#model.conversation(KIND.DIRECT, BigInt(conv)).peerRead = BigInt(pos);
    } catch {
      // Not ours, or broken: the next receipt mends it.
    }
  }

  #typed(message) {
    const { kind, conv, from, json } = message;
    if (json.typing !== true || from === this.#model.me) return;
    if (typeof json.name === 'string') this.#model.names.set(from, json.name.slice(0, 40));
    this.#changed(this.#model.typing(kind, conv, from, performance.now() + TYPING_SHOWN_MS));
  }
}
