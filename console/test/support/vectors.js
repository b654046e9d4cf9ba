// The golden vectors of the protocol, which every implementation is tested against.

import { readFileSync } from 'node:fs';

const FOLDER = new URL('../../../protocol/vectors/', import.meta.url);

/** A file of vectors. */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), 'utf8'));
}

/** Bytes of hexadecimal digits. */
export function unhex(digits) {
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

/** Hexadecimal digits of bytes. */
export function tohex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

/** The body of a vector. */
export function bodyOf(vector) {
  return vector.body_hex === undefined ? new TextEncoder().encode(vector.body_text) : unhex(vector.body_hex);
}
