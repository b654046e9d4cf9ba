// The live room: what is said goes to who is there; who was away for a moment gets what he missed.

import * as api from './api.js';

export const ROOM = 'chat://live';
const KEPT = 200;
const ASK_MS = 5_000;

export class Live {
  #storage;
  #me;
  #name;
  #changed;
  #joined = false;
  /** `{type: 'text', pos, from, name, text, atMs}`, or lines: `{type: 'gap'}`, `{type: 'recovered', count}`. */
  items = [];
  #pos = 0n;
  #since = 0;
  present = 0;
  unread = 0;
  visible = false;

  constructor({ session, me, name, storage, changed }) {
    this.client = session.client;
    this.#me = me;
    this.#name = name;
    this.#storage = storage;
    this.#changed = changed;
    this.#restore();
    this.client.on('room', ({ message }) => this.#said(message));
    this.client.on('gap', () => this.#note({ type: 'gap' }));
    this.client.on('joined', ({ pos, recovered }) => this.#in(pos, recovered));
  }

  async start() {
    await this.client.joinRoom(ROOM, { pos: this.#pos });
    setInterval(() => void this.#count(), ASK_MS);
    await this.#count();
  }

  async say(text) {
    await api.say(ROOM, this.#me, { text, name: this.#name });
  }

  seen() {
    this.unread = 0;
  }

  #said(message) {
    const { json, from, pos, acceptedMs } = message;
    const name = typeof json.name === 'string' ? json.name.slice(0, 40) : '';
    const text = typeof json.text === 'string' ? json.text : message.text;
    this.#pos = pos;
    this.#since += 1;
    if (!this.visible && from !== this.#me) this.unread += 1;
    this.#note({ type: 'text', pos, from, name, text, atMs: acceptedMs || Date.now() });
  }

  #in(pos, recovered) {
    // After the first time in this page: what came in between was replayed.
    if (recovered && this.#joined && this.#since > 0) this.#note({ type: 'recovered', count: this.#since });
    this.#joined = true;
    this.#pos = pos;
    this.#keep();
  }

  /** The connection is gone: what comes next until it is back was missed. */
  away() {
    this.#since = 0;
  }

  #note(item) {
    this.items.push(item);
    this.items.splice(0, Math.max(0, this.items.length - KEPT));
    this.#keep();
    this.#changed();
  }

  async #count() {
    if (document.hidden) return;
    try {
      this.present = await api.inRoom(ROOM);
      this.#changed();
    } catch {
      // The number is not worth a word.
    }
  }

  #keep() {
    const items = this.items.map((item) => ({ ...item, pos: item.pos?.toString(), from: item.from?.toString() }));
    try {
      this.#storage.setItem(`perseid.chat.live/${this.#me}`, JSON.stringify({ pos: String(this.#pos), items }));
    } catch {
      // Without storage a page that is loaded anew begins with what comes then.
    }
  }

  #restore() {
    try {
      const kept = JSON.parse(this.#storage.getItem(`perseid.chat.live/${this.#me}`) ?? 'null');
      if (kept === null) return;
      this.#pos = BigInt(kept.pos);
      this.items = kept.items.map((item) => ({ ...item, pos: BigInt(item.pos ?? 0), from: BigInt(item.from ?? 0) }));
    } catch {
      this.items = [];
    }
  }
}
