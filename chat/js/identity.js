// Who this window is. Names are remembered in this browser; two windows are never the same person at once.

const PEOPLE = 'perseid.chat.people';
const WINDOW = 'perseid.chat.mid';
const PEOPLE_MAX = 12;
export const NAME_MAX = 24;

/** A mid that nobody has: 51 random bits, above the small numbers that people use in examples. */
export function freshMid(random = (words) => crypto.getRandomValues(words)) {
  const [high, low] = random(new Uint32Array(2));
  return (((BigInt(high) & 0x7ffffn) << 32n) | BigInt(low)) + 1_000_000n;
}

/** A name as it is shown: white space is one blank. */
export function tidy(name) {
  return name.replace(/\s+/g, ' ').trim().slice(0, NAME_MAX);
}

/** Everybody who was here, the last one first: `[{mid, name}]`. */
export function people(storage) {
  try {
    const read = JSON.parse(storage.getItem(PEOPLE) ?? '[]');
    const fine = ({ mid, name }) => /^\d{1,16}$/.test(mid) && typeof name === 'string' && tidy(name) !== '';
    return read.filter(fine).slice(0, PEOPLE_MAX).map(({ mid, name }) => ({ mid: BigInt(mid), name: tidy(name) }));
  } catch {
    return [];
  }
}

/** Remembers one as the last. */
export function remember(storage, { mid, name }) {
  const others = people(storage).filter((one) => one.mid !== mid);
  const list = [{ mid, name }, ...others].slice(0, PEOPLE_MAX);
  put(storage, PEOPLE, JSON.stringify(list.map((one) => ({ mid: String(one.mid), name: one.name }))));
}

function put(storage, key, value) {
  try {
    storage.setItem(key, value);
  } catch {
    // Storage is forbidden here: it holds until the page is left.
  }
}

/**
 * Takes a person for this window: null if another window is that person, else a function that lets go. `waitMs`: a page that is
 * loaded anew meets the one that it was for a moment.
 */
export async function hold(mid, { locks = navigator.locks, waitMs = 0 } = {}) {
  if (locks === undefined) return () => {};
  const options = waitMs > 0 ? { signal: AbortSignal.timeout(waitMs) } : { ifAvailable: true };
  return new Promise((resolve, reject) => {
    const holding = locks.request(`perseid.chat/${mid}`, options, (lock) => {
      if (lock === null) return void resolve(null);
      return new Promise((release) => resolve(release));
    });
    holding.catch((error) => (error.name === 'AbortError' || error.name === 'TimeoutError' ? resolve(null) : reject(error)));
  });
}

/** Who this window was before it was loaded anew, or null. */
export function ofWindow(storage) {
  try {
    const mid = storage.getItem(WINDOW);
    return mid !== null && /^\d{1,16}$/.test(mid) ? BigInt(mid) : null;
  } catch {
    return null;
  }
}

export function setWindow(storage, mid) {
  if (mid === null) storage.removeItem(WINDOW);
  else put(storage, WINDOW, String(mid));
}
