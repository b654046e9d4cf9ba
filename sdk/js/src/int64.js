// 64-bit numbers. The rule of this SDK: what it gives is BigInt; what it takes is BigInt, a safe integer or a decimal string.

const U64_MAX = (1n << 64n) - 1n;

/** An unsigned 64-bit number. Throws TypeError for what is none, and for numbers that JavaScript has rounded. */
export function u64(value, name = 'value') {
  const read = integer(value, name);
  if (read < 0n || read > U64_MAX) throw new TypeError(`${name} is not an unsigned 64-bit number: ${value}`);
  return read;
}

/** The same with a sign: mids of guests are negative. */
export function i64(value, name = 'value') {
  const read = integer(value, name);
  if (BigInt.asIntN(64, read) !== read) throw new TypeError(`${name} is not a signed 64-bit number: ${value}`);
  return read;
}

function integer(value, name) {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) return BigInt(value);
  throw new TypeError(`${name} must be a BigInt, an integer below 2^53 or a decimal string, not ${String(value)}`);
}

/** A number of somebody else's JSON, or `otherwise` where there is none. */
export function readU64(value, otherwise = 0n) {
  try {
    return u64(value);
  } catch {
    return otherwise;
  }
}

/** JSON of bytes as an object; empty if it is none. */
export function readJson(text) {
  try {
    const read = JSON.parse(text);
    return read !== null && typeof read === 'object' && !Array.isArray(read) ? read : {};
  } catch {
    return {};
  }
}

/** FNV-1a 64 of a text's UTF-8: `conv` of the frames of a room. */
export function fnv1a64(text) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}

/** A cid that no other send has: 63 random bits, not 0. */
export function mintCid(random = (words) => crypto.getRandomValues(words)) {
  const [high, low] = random(new Uint32Array(2));
  return ((BigInt(high) << 31n) ^ BigInt(low)) || 1n;
}
