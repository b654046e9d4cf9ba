// What has to survive a restart: the cursor of the inbox, and messages on their way out. Pluggable: any object with these
// methods, each of which may be asynchronous.
//
//   open()                   {cursor: {epoch, pos} | null, entries: [entry]}, entries in the order in which they were put
//   put(entry)               keeps {cid, kind, conv, body, quiet, atMs}; when it resolves, the entry survives
//   commit({cursor, done})   a new cursor, if given, and entries (by cid) that are done: both or neither
//   close()

import { StorageError } from './errors.js';

const LOCK_MS = 1_500;

/** Keeps it as long as this object lives: where there is no IndexedDB, and for tests. */
export class MemoryStorage {
  #cursor = null;
  #entries = new Map();

  open() {
    return { cursor: this.#cursor, entries: [...this.#entries.values()].map((entry) => ({ ...entry })) };
  }

  put(entry) {
    this.#entries.set(entry.cid, { ...entry });
  }

  commit({ cursor, done = [] }) {
    if (cursor) this.#cursor = { ...cursor };
    for (const cid of done) this.#entries.delete(cid);
  }

  close() {}
}

/** Keeps it in IndexedDB, under a name: one for each user and device. A second tab with the same name is refused. */
export class IndexedDbStorage {
  #name;
  #db = null;
  #next = 0;
  #release = () => {};

  constructor(name) {
    this.#name = `perseid:${name}`;
  }

  async open() {
    await this.#lock();
    this.#db = await settled(openDatabase(this.#name));
    this.#db.onversionchange = () => this.#db.close();
    const work = this.#db.transaction(['state', 'outbox']);
    const [cursor, rows] = await Promise.all([
      settled(work.objectStore('state').get('cursor')),
      settled(work.objectStore('outbox').getAll()),
    ]);
    rows.sort((one, other) => one.order - other.order);
    this.#next = (rows.at(-1)?.order ?? 0) + 1;
    return { cursor: cursor ? { epoch: BigInt(cursor.epoch), pos: BigInt(cursor.pos) } : null, entries: rows.map(fromRow) };
  }

  async put(entry) {
    const work = this.#begin(['outbox'], { durability: 'strict' });
    work.objectStore('outbox').put(toRow(entry, this.#next));
    this.#next += 1;
    await finished(work);
  }

  async commit({ cursor, done = [] }) {
    const work = this.#begin(['state', 'outbox']);
    // As text: not every browser keeps BigInt.
    if (cursor) work.objectStore('state').put({ epoch: String(cursor.epoch), pos: String(cursor.pos) }, 'cursor');
    for (const cid of done) work.objectStore('outbox').delete(String(cid));
    await finished(work);
  }

  close() {
    this.#db?.close();
    this.#db = null;
    this.#release();
  }

  #begin(stores, options) {
    if (this.#db === null) throw new StorageError('STORAGE_CLOSED', 'the storage is closed');
    return this.#db.transaction(stores, 'readwrite', options);
  }

  // Two clients on one cursor and one outbox would lose and double messages.
  async #lock() {
    if (globalThis.navigator?.locks === undefined) return;
    const held = await new Promise((resolve, reject) => {
      // A page that is loaded anew meets the one that it was for a moment.
      const holding = navigator.locks.request(this.#name, { signal: AbortSignal.timeout(LOCK_MS) }, () => {
        resolve(true);
        return new Promise((release) => (this.#release = release));
      });
      holding.catch((error) => (error.name === 'AbortError' || error.name === 'TimeoutError' ? resolve(false) : reject(error)));
    });
    if (!held) throw new StorageError('STORAGE_BUSY', 'another tab uses this storage: give each tab its own name, or close the other');
  }
}

/** IndexedDB where there is one, else memory. */
export function defaultStorage(name) {
  return globalThis.indexedDB === undefined ? new MemoryStorage() : new IndexedDbStorage(name);
}

function openDatabase(name) {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore('state');
    request.result.createObjectStore('outbox', { keyPath: 'cid' });
  };
  return request;
}

function toRow(entry, order) {
  const { cid, kind, conv, body, quiet, atMs } = entry;
  return { cid: String(cid), order, kind, conv: String(conv), body: body.slice(), quiet, atMs };
}

function fromRow({ cid, kind, conv, body, quiet, atMs }) {
  return { cid: BigInt(cid), kind, conv: BigInt(conv), body, quiet, atMs };
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(failed(request.error));
  });
}

function finished(work) {
  return new Promise((resolve, reject) => {
    work.oncomplete = () => resolve();
    work.onabort = () => reject(failed(work.error));
  });
}

function failed(error) {
  return new StorageError('STORAGE_FAILED', `the storage could not keep it: ${error?.message ?? 'it was aborted'}`);
}
