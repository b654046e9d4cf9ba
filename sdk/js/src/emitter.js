// Listeners by the name of what they listen to.

export class Emitter {
  #listeners = new Map();
  #names;

  constructor(names) {
    this.#names = new Set(names);
  }

  /** `listener(value)` from now on; answers with a function that ends it. Throws for a name that there is not. */
  on(name, listener) {
    if (!this.#names.has(name)) throw new TypeError(`there is no event "${name}": one of ${[...this.#names].join(', ')}`);
    const own = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, own);
    const entry = { listener };
    own.add(entry);
    return () => own.delete(entry);
  }

  /** Tells all who listen. What one of them throws becomes an uncaught error; the others are told all the same. */
  emit(name, value) {
    for (const { listener } of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        reportError(error);
      }
    }
  }

  /** The same one after the other, waiting for each; what one throws is thrown. */
  async tell(name, value) {
    for (const { listener } of [...(this.#listeners.get(name) ?? [])]) await listener(value);
  }
}

// Not swallowed, and not in the way of what runs.
function reportError(error) {
  setTimeout(() => {
    throw error;
  });
}
