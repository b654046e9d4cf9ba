// Pushing: to users, to sessions by key, to a room, to all.

import { byId, data, el, setAttribute, setText } from '../dom.js';
import * as format from '../format.js';
import { onLanguage, t } from '../text.js';
import { sum } from '../stats.js';
import { ask } from '../widgets/dialog.js';
import { Notice } from '../widgets/notice.js';
import { sentence } from '../problem.js';
import { Table } from '../widgets/table.js';
import { buildPush, curl, describe, PATH } from './push-form.js';

const TARGET_DEFAULTS = { mids: '7', keys: '', room: 'live://1000', all: '' };
const RECENT_MAX = 20;

export class PushView {
  #api;
  #store;
  #token;
  #form = byId('push-form');
  #remembered = { ...TARGET_DEFAULTS };
  #kind = 'mids';
  #notice = new Notice();
  #recent = [];
  #table;
  #sending = false;

  constructor({ api, store, token }) {
    this.#api = api;
    this.#store = store;
    this.#token = token;
    const { kind, target } = this.#form.elements;
    target.value = this.#remembered.mids;
    kind.addEventListener('change', () => this.#changeKind(kind.value));
    this.#form.addEventListener('input', () => this.#preview());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    byId('push-id').addEventListener('click', () => {
      this.#form.elements.id.value = crypto.randomUUID?.() ?? `push-${Date.now()}`;
      this.#preview();
    });
    byId('push-copy').addEventListener('click', () => this.#copy());
    byId('push-notice').append(this.#notice.node);
    this.#table = new Table({ label: 'push.recent', columns: this.#columns(), id: ({ number }) => number });
    byId('push-recent').append(this.#table.node);
    token.onChange(() => this.#preview());
    onLanguage(() => {
      this.#table.relabel();
      this.#notice.relabel();
      this.#shape();
      this.#drawRecent();
    });
    this.#shape();
    this.#drawRecent();
  }

  /** Its panel moves to where it is used: here, or beside the test client. */
  show(kind, target) {
    byId('push-slot').prepend(byId('push-panel'));
    this.aim(kind, target);
  }

  /** Aims at users, keys or a room. */
  aim(kind, target) {
    if (!(kind in TARGET_DEFAULTS)) return;
    this.#form.elements.kind.value = kind;
    this.#changeKind(kind);
    if (target !== undefined) this.#form.elements.target.value = target;
    this.#preview();
  }

  #changeKind(kind) {
    const { target } = this.#form.elements;
    this.#remembered[this.#kind] = target.value;
    this.#kind = kind;
    target.value = this.#remembered[kind];
    this.#shape();
  }

  #shape() {
    const everyone = this.#kind === 'all';
    byId('push-target').hidden = everyone;
    byId('push-warning').hidden = !everyone;
    byId('push-speed').hidden = !everyone;
    if (!everyone) setText(byId('push-target-label'), t(`push.target.${this.#kind}`));
    setText(byId('push-send'), t(everyone ? 'push.sendAll' : 'push.send'));
    this.#preview();
  }

  #fields() {
    const { kind, target, op, body, encoding, id, ttl, speed } = this.#form.elements;
    return {
      kind: kind.value,
      target: target.value,
      op: op.value,
      body: body.value,
      encoding: encoding.value,
      id: id.value,
      ttl: ttl.value,
      speed: speed.value,
    };
  }

  #preview() {
    let command = '';
    try {
      command = curl(location.origin, buildPush(this.#fields()), this.#token.value !== null);
    } catch (error) {
      command = `# ${error.message}`;
    }
    setText(byId('push-curl'), command);
  }

  async #send() {
    if (this.#sending) return;
    const fields = this.#fields();
    let json;
    try {
      json = buildPush(fields);
    } catch (error) {
      this.#notice.say(() => t(error.key), 'bad');
      this.#mark(error.field);
      return;
    }
    this.#mark(null);
    if (fields.kind === 'all' && !(await this.#sure())) return;
    const button = byId('push-send');
    // Not `disabled`: that would take the focus away from who works by keyboard.
    this.#sending = true;
    setAttribute(button, 'aria-disabled', 'true');
    this.#notice.say(() => t('push.sending'), '');
    const push = { number: this.#recent.length + 1, at: Date.now(), fields, answer: null, problem: null };
    try {
      push.answer = await this.#api.call('POST', PATH, { body: json });
      this.#notice.say(() => describe(push.answer));
    } catch (problem) {
      push.problem = problem;
      const unknown = problem.status === 0 || problem.status === 504;
      this.#notice.fail(problem, unknown ? () => t('push.unknown') : null);
    } finally {
      this.#sending = false;
      button.removeAttribute('aria-disabled');
    }
    push.number = (this.#recent[0]?.number ?? 0) + 1;
    this.#recent = [push, ...this.#recent].slice(0, RECENT_MAX);
    this.#drawRecent();
  }

  // The field that is wrong says so, and has the focus.
  #mark(name) {
    for (const field of this.#form.elements) field.removeAttribute?.('aria-invalid');
    if (name === null) return;
    const field = this.#form.elements[name];
    field.setAttribute('aria-invalid', 'true');
    const details = field.closest('details');
    if (details) details.open = true;
    field.focus();
  }

  #sure() {
    const { stats } = this.#store;
    const count = stats === null ? '–' : sum(stats.sessions);
    return ask({
      title: t('push.allTitle'),
      content: [el('p', {}, t('push.allWhat', { count }))],
      confirm: t('push.sendAll'),
      danger: true,
    });
  }

  #columns() {
    return [
      { key: 'push.time', className: 'time', update: (cell, { at }) => setText(cell, format.clock(at)) },
      {
        key: 'push.target',
        make: () => [data('', 'clip')],
        update: (cell, { fields }) => {
          const all = fields.kind === 'all';
          cell.firstElementChild.translate = all;
          setText(cell.firstElementChild, all ? t('push.toAll') : fields.target.trim());
        },
      },
      { key: 'push.op', make: () => [data('')], update: (cell, { fields }) => setText(cell.firstElementChild, fields.op.trim()) },
      { key: 'push.body', make: () => [data('', 'clip')], update: (cell, { fields }) => setText(cell.firstElementChild, fields.body.slice(0, 200)) },
      {
        key: 'push.answer',
        make: () => [el('span')],
        update: (cell, { answer, problem }) => {
          setText(cell.firstElementChild, problem === null ? describe(answer) : sentence(problem));
          cell.firstElementChild.className = problem === null ? '' : 'bad';
        },
      },
    ];
  }

  #drawRecent() {
    byId('push-none').hidden = this.#recent.length > 0;
    this.#table.node.hidden = this.#recent.length === 0;
    this.#table.update(this.#recent);
  }

  async #copy() {
    const button = byId('push-copy');
    let key = 'push.copied';
    try {
      await navigator.clipboard.writeText(byId('push-curl').textContent);
    } catch {
      // Without TLS and beyond loopback the browser has no clipboard for pages.
      getSelection().selectAllChildren(byId('push-curl'));
      key = 'push.notCopied';
    }
    setText(button, t(key));
    setTimeout(() => setText(button, t('push.copy')), 2000);
  }
}
