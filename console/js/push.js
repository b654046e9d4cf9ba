// The push form: POST /v1/messages, and the same as a curl command.

import { byId, setText } from './dom.js';
import * as format from './format.js';
import { t } from './text.js';

const PATH = '/v1/messages';
const TARGET_DEFAULTS = { mids: '7', keys: '', room: 'live://1000', all: '' };

/**
 * The request's JSON from the fields of the form, as text: user ids have 64 bits, more than a JavaScript number.
 * Throws an Error with words for the user.
 */
export function buildPush({ kind, target, op, body }) {
  const number = /^-?[0-9]+$/.test(op.trim()) ? Number(op) : NaN;
  if (!(number >= -0x8000_0000 && number <= 0x7fff_ffff)) throw new Error(t('push.badOp'));
  return `{"to":${buildTarget(kind, target)},"op":${number},"body":${JSON.stringify(body)}}`;
}

function buildTarget(kind, target) {
  const list = target.split(/[\s,]+/).filter((entry) => entry !== '');
  if (kind === 'mids') {
    if (list.length === 0 || !list.every((mid) => /^-?(0|[1-9][0-9]{0,18})$/.test(mid))) throw new Error(t('push.badMids'));
    return `{"mids":[${list.join(',')}]}`;
  }
  if (kind === 'keys') {
    if (list.length === 0) throw new Error(t('push.badKeys'));
    return `{"keys":${JSON.stringify(list)}}`;
  }
  if (kind === 'room') {
    const room = target.trim();
    if (!/^[^:/]+:\/\/.+$/.test(room)) throw new Error(t('push.badRoom'));
    return `{"room":${JSON.stringify(room)}}`;
  }
  return '{"all":true}';
}

/** A curl command that sends `json`; it can be pasted into a POSIX shell whatever the body is. */
export function curl(origin, json) {
  const quoted = `'${json.replaceAll("'", `'\\''`)}'`;
  return `curl -sS ${origin}${PATH} \\\n  -H 'content-type: application/json' \\\n  -d ${quoted}`;
}

/** What an answer says in one line: `{good, words}`. */
export function describe(ok, status, answer) {
  if (ok) {
    const words = [t('push.accepted', { id: answer?.id ?? '?' })];
    if (answer?.recipients === 1) words.push(t('push.recipient'));
    else if (Number.isFinite(answer?.recipients)) words.push(t('push.recipients', { count: format.count(answer.recipients) }));
    if (answer?.duplicate) words.push(t('push.duplicate'));
    return { good: true, words: words.join(', ') };
  }
  const head = [status, answer?.reason ?? answer?.title].filter(Boolean).join(' ');
  return { good: false, words: answer?.detail ? `${head}: ${answer.detail}` : head };
}

export class PushPanel {
  #form = byId('push-form');
  #remembered = { ...TARGET_DEFAULTS };
  #kind = 'mids';

  constructor() {
    const { kind, target } = this.#form.elements;
    target.value = this.#remembered.mids;
    kind.addEventListener('change', () => this.#changeKind(kind.value));
    this.#form.addEventListener('input', () => this.#preview());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    byId('push-copy').addEventListener('click', () => this.#copy());
    this.#changeKind('mids');
  }

  /** Aims at a room. */
  aimAtRoom(room) {
    this.#form.elements.kind.value = 'room';
    this.#changeKind('room');
    this.#form.elements.target.value = room;
    this.#preview();
    this.#form.elements.body.focus();
  }

  #changeKind(kind) {
    const { target } = this.#form.elements;
    this.#remembered[this.#kind] = target.value;
    this.#kind = kind;
    target.value = this.#remembered[kind];
    const everyone = kind === 'all';
    byId('push-target').hidden = everyone;
    byId('push-warning').hidden = !everyone;
    if (!everyone) setText(byId('push-target-label'), t(`push.target.${kind}`));
    setText(byId('push-send'), t(everyone ? 'push.sendAll' : 'push.send'));
    this.#preview();
  }

  #json() {
    const { kind, target, op, body } = this.#form.elements;
    return buildPush({ kind: kind.value, target: target.value, op: op.value, body: body.value });
  }

  #preview() {
    let command = '';
    try {
      command = curl(location.origin, this.#json());
    } catch (error) {
      command = `# ${error.message}`;
    }
    setText(byId('push-curl'), command);
  }

  #answer(words, tone) {
    const answer = byId('push-answer');
    setText(answer, words);
    answer.className = `answer ${tone}`;
  }

  async #send() {
    const button = byId('push-send');
    if (button.getAttribute('aria-disabled') === 'true') return;
    let json;
    try {
      json = this.#json();
    } catch (error) {
      this.#answer(error.message, 'bad');
      return;
    }
    // Not `disabled`: that would take the focus away from who works by keyboard.
    button.setAttribute('aria-disabled', 'true');
    this.#answer(t('push.sending'), '');
    try {
      const response = await fetch(PATH, { method: 'POST', headers: { 'content-type': 'application/json' }, body: json });
      const answer = await response.json().catch(() => null);
      const { good, words } = describe(response.ok, response.status, answer);
      this.#answer(words, good ? 'good' : 'bad');
    } catch (error) {
      this.#answer(t('push.failed', { message: error.message }), 'bad');
    } finally {
      button.removeAttribute('aria-disabled');
    }
  }

  async #copy() {
    const button = byId('push-copy');
    let words = t('push.copied');
    try {
      await navigator.clipboard.writeText(byId('push-curl').textContent);
    } catch {
      // Without TLS and beyond loopback the browser has no clipboard for pages.
      getSelection().selectAllChildren(byId('push-curl'));
      words = t('push.notCopied');
    }
    setText(button, words);
    setTimeout(() => setText(button, t('push.copy')), 2000);
  }
}
