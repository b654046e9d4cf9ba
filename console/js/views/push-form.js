// What the push form means: the request's JSON, the same as a curl command, the answer in words. Pure.

import { t } from '../text.js';

export const PATH = '/v1/messages';
const ID_BYTES_MAX = 64;

/** Bytes of base64 text (white space does not count), or null. */
export function base64(text) {
  const plain = text.replace(/\s+/g, '');
  const valid = plain.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(plain);
  return valid ? plain : null;
}

const whole = (text) => (/^[0-9]{1,15}$/.test(text) ? Number(text) : NaN);

/**
 * The request's JSON from the fields of the form, as text: user ids have 64 bits, more than a JavaScript number.
 * Throws an Error with words for the user; its `field` names the field.
 */
export function buildPush({ kind, target, op, body, encoding = 'text', id = '', ttl = '', speed = '' }) {
  const number = /^-?[0-9]+$/.test(op.trim()) ? Number(op) : NaN;
  if (!(number >= -0x8000_0000 && number <= 0x7fff_ffff)) throw wrong('op', 'push.badOp');
  const parts = [`"to":${buildTarget(kind, target)}`, `"op":${number}`];
  if (encoding === 'base64') {
    const bytes = base64(body);
    if (bytes === null) throw wrong('body', 'push.badBase64');
    parts.push(`"body_base64":${JSON.stringify(bytes)}`);
  } else {
    parts.push(`"body":${JSON.stringify(body)}`);
  }
  if (id !== '') {
    // eslint-disable-next-line no-control-regex
    const fine = new TextEncoder().encode(id).byteLength <= ID_BYTES_MAX && !/[\u0000-\u001f\u007f-\u009f]/.test(id);
    if (!fine) throw wrong('id', 'push.badId');
    parts.push(`"id":${JSON.stringify(id)}`);
  }
  if (ttl.trim() !== '') {
    if (!(whole(ttl.trim()) > 0)) throw wrong('ttl', 'push.badTtl');
    parts.push(`"ttl_ms":${whole(ttl.trim())}`);
  }
  if (kind === 'all' && speed.trim() !== '') {
    if (!(whole(speed.trim()) <= 0xffff_ffff)) throw wrong('speed', 'push.badSpeed');
    parts.push(`"speed":${whole(speed.trim())}`);
  }
  return `{${parts.join(',')}}`;
}

function wrong(field, key) {
  return Object.assign(new Error(t(key)), { field, key });
}

function buildTarget(kind, target) {
  const list = target.split(/[\s,，、]+/).filter((entry) => entry !== '');
  if (kind === 'mids') {
    if (list.length === 0 || !list.every((mid) => /^[1-9][0-9]{0,18}$/.test(mid))) throw wrong('target', 'push.badMids');
    return `{"mids":[${list.join(',')}]}`;
  }
  if (kind === 'keys') {
    if (list.length === 0) throw wrong('target', 'push.badKeys');
    return `{"keys":${JSON.stringify(list)}}`;
  }
  if (kind === 'room') {
    const room = target.trim();
    if (!/^[^:/]+:\/\/.+$/.test(room)) throw wrong('target', 'push.badRoom');
    return `{"room":${JSON.stringify(room)}}`;
  }
  return '{"all":true}';
}

/** A curl command that sends `json`; it can be pasted into a POSIX shell whatever the body is. It never holds a token. */
export function curl(origin, json, withToken = false) {
  const quoted = `'${json.replaceAll("'", `'\\''`)}'`;
  const token = withToken ? `  -H "authorization: Bearer $PERSEID_TOKEN" \\\n` : '';
  return `curl -sS ${origin}${PATH} \\\n${token}  -H 'content-type: application/json' \\\n  -d ${quoted}`;
}

/** What the answer says in one line. */
export function describe(answer) {
  const words = [t('push.accepted', { id: String(answer?.id ?? '?') })];
  if (Number.isFinite(answer?.recipients)) words.push(t('push.recipients', { count: answer.recipients }));
  if (answer?.duplicate) words.push(t('push.duplicate'));
  return words.join(' · ');
}
