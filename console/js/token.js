// The API token: kept in this tab's session storage, never in an address, sent as a header only.

const KEY = 'perseid.token';
/** No token that we make or take is longer; more than this is a mistake of the clipboard. */
const LENGTH_MAX = 8192;

/** What is wrong with a token, as a key of words, or null. */
export function mistake(token) {
  if (token === '') return 'token.empty';
  return /^[\x21-\x7e]+$/.test(token) && token.length <= LENGTH_MAX ? null : 'token.malformed';
}

/** The token of this tab. `storage` may be missing or forbidden: then it lives as long as the page. */
export class Token {
  #value = null;
  #storage;
  #listeners = new Set();

  constructor(storage) {
    this.#storage = storage;
    try {
      const stored = storage?.getItem(KEY) ?? null;
      if (stored !== null && mistake(stored) === null) this.#value = stored;
    } catch {
      this.#storage = null;
    }
  }

  /** The token, or null. */
  get value() {
    return this.#value;
  }

  /** Sets it, or with null forgets it. */
  set(value) {
    this.#value = value;
    try {
      if (value === null) this.#storage?.removeItem(KEY);
      else this.#storage?.setItem(KEY, value);
    } catch {
      // Full or forbidden: the page has it all the same.
    }
    for (const listener of this.#listeners) listener();
  }

  onChange(listener) {
    this.#listeners.add(listener);
  }
}

/** This tab's storage, or null where the browser forbids it. */
export function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
