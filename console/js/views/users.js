// Finding users and their sessions, and ending these; below them the inbox of one who was found.

import { query } from '../api.js';
import { byId, data, el, rescueFocus, setAttribute, setText } from '../dom.js';
import * as format from '../format.js';
import { Poll } from '../poll.js';
import { address } from '../router.js';
import { onLanguage, t } from '../text.js';
import { ask, field } from '../widgets/dialog.js';
import { Notice } from '../widgets/notice.js';
import { Table } from '../widgets/table.js';
import { InboxPanel } from './inbox.js';

const EVERY_MS = 2000;
const USERS_MAX = 1000;
/** Characters; the node takes 256 bytes. */
const REASON_MAX = 64;

/** The user ids of a field, or null if one of them is none. Texts: they have 64 bits, more than a JavaScript number. */
export function parseMids(text) {
  const mids = [...new Set(text.split(/[\s,，、]+/).filter((part) => part !== ''))];
  const fine = mids.every((mid) => /^[1-9][0-9]{0,18}$/.test(mid) && BigInt(mid) < 1n << 63n);
  return fine && mids.length > 0 && mids.length <= USERS_MAX ? mids : null;
}

/** The path that ends sessions; the reason is for the client's eyes. */
export function kickPath(mid, { key = '', reason = '' } = {}) {
  return `/v1/users/${mid}/sessions${query({ key, reason })}`;
}

export class UsersView {
  #api;
  #form = byId('users-form');
  #notice = new Notice();
  #mids = [];
  #answer = null;
  #sessions;
  #users;
  #inbox;
  #poll;

  constructor({ api }) {
    this.#api = api;
    this.#sessions = new Table({ label: 'users.title', columns: this.#sessionColumns(), id: ({ key }) => key });
    this.#users = new Table({ label: 'users.online', columns: this.#userColumns(), id: ({ mid }) => String(mid) });
    this.#inbox = new InboxPanel({ api });
    byId('users-notice').append(this.#notice.node);
    byId('users-tables').append(this.#sessions.node, this.#users.node);
    this.#poll = new Poll({
      ask: () => this.#read(),
      everyMs: EVERY_MS,
      onAnswer: (answer) => this.#take(answer),
      onFailure: (problem) => this.#failed(problem),
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#find();
    });
    byId('users-all').addEventListener('click', () => this.#end(null));
    onLanguage(() => {
      this.#sessions.relabel();
      this.#users.relabel();
      this.#notice.relabel();
      this.#inbox.relabel();
      this.#draw();
    });
  }

  /** `list`: user ids with commas. */
  show(list = '') {
    const mids = parseMids(list);
    if (list !== '' && mids === null) this.#notice.say(() => t('users.bad'), 'bad');
    else if (mids?.join() !== this.#mids.join()) this.#notice.clear();
    this.#mids = mids ?? [];
    this.#answer = null;
    this.#inbox.show(null, null);
    if (list !== '') this.#form.elements.mids.value = list;
    this.#draw();
    if (this.#mids.length > 0) this.#poll.start();
    else this.#poll.stop();
  }

  hide() {
    this.#poll.stop();
  }

  refresh() {
    if (byId('view-users').hidden || this.#mids.length === 0) return;
    this.#inbox.show(null, null);
    this.#poll.now();
  }

  #find() {
    const mids = parseMids(this.#form.elements.mids.value);
    if (mids === null) {
      this.#notice.say(() => t('users.bad'), 'bad');
      this.#form.elements.mids.focus();
      return;
    }
    const target = address('users', mids.join());
    if (location.hash === target) this.show(mids.join());
    else location.hash = target;
  }

  async #read() {
    const mids = this.#mids;
    if (mids.length === 1) return { mids, ...(await this.#api.get(`/v1/users/${mids[0]}`, { background: true })) };
    const body = `{"mids":[${mids.join()}]}`;
    return { mids, ...(await this.#api.call('POST', '/v1/users:online', { body, background: true })) };
  }

  #take(answer) {
    if (answer.mids !== this.#mids) return;
    if (this.#notice.node.dataset.poll === 'true') this.#notice.clear();
    delete this.#notice.node.dataset.poll;
    this.#answer = answer;
    this.#inbox.show(answer.mids[0], answer.mids.length === 1 ? answer : null);
    this.#draw();
  }

  #failed(problem) {
    this.#notice.node.dataset.poll = 'true';
    this.#notice.fail(problem);
  }

  #draw() {
    const [mid] = this.#mids;
    const sessions = this.#answer?.sessions ?? null;
    const users = this.#answer?.users ?? null;
    byId('users-start').hidden = this.#mids.length > 0;
    byId('users-panel').hidden = this.#answer === null;
    byId('users-actions').hidden = sessions === null;
    if (!sessions?.length) rescueFocus(byId('users-all'));
    byId('users-all').hidden = !sessions?.length;
    byId('users-offline').hidden = sessions === null || sessions.length > 0;
    this.#sessions.node.hidden = !sessions?.length;
    this.#users.node.hidden = users === null;
    if (this.#answer === null) return;
    setText(byId('users-heading'), users === null ? t('users.sessionsOf', { mid }) : t('users.online'));
    setText(byId('users-offline'), t('users.offline', { mid }));
    setText(byId('users-count'), sessions?.length ? t('users.count', { count: sessions.length }) : '');
    setAttribute(byId('users-push'), 'href', address('push', 'mids', mid));
    this.#sessions.update(sessions ?? []);
    this.#users.update(users ?? []);
  }

  #sessionColumns() {
    const raw = (key, pick, className = '') => ({
      key,
      className,
      make: () => [data('')],
      update: (cell, session) => setText(cell.firstElementChild, pick(session) || '–'),
    });
    return [
      raw('users.key', ({ key }) => key, 'key'),
      raw('users.node', ({ node }) => node),
      raw('users.platform', ({ platform }) => platform),
      raw('users.device', ({ device_id: device }) => device),
      raw('users.address', ({ address: from }) => from),
      raw('users.since', ({ since_ms: since }) => format.moment(since)),
      { key: 'users.level', update: (cell, session) => setText(cell, t(session.extended ? 'client.extended' : 'client.classic')) },
      {
        key: 'users.actions',
        className: 'actions-cell',
        make: () => [el('button', { type: 'button' })],
        update: (cell, { key }) => {
          const button = cell.firstElementChild;
          setText(button, t('users.end'));
          setAttribute(button, 'aria-label', t('users.endOne', { key }));
          button.onclick = () => this.#end(key);
        },
      },
    ];
  }

  #userColumns() {
    return [
      {
        key: 'users.user',
        make: () => [el('a', { translate: false })],
        update: (cell, { mid }) => {
          setText(cell.firstElementChild, String(mid));
          setAttribute(cell.firstElementChild, 'href', address('users', String(mid)));
        },
      },
      {
        key: 'users.state',
        make: () => [el('span', { className: 'pill' })],
        update: (cell, { online }) => {
          setText(cell.firstElementChild, t(online ? 'users.isOnline' : 'users.isOffline'));
          cell.firstElementChild.className = online ? 'pill good' : 'pill';
        },
      },
      { key: 'users.platforms', make: () => [data('')], update: (cell, { platforms = [] }) => setText(cell.firstElementChild, platforms.join(', ') || '–') },
    ];
  }

  // One session, or with null all of the user.
  async #end(key) {
    const [mid] = this.#mids;
    const input = el('input', { name: 'reason', maxLength: REASON_MAX });
    const reason = await ask({
      title: key === null ? t('users.endAllTitle', { mid }) : t('users.endTitle'),
      content: [
        key === null ? null : el('p', { className: 'mono', translate: false }, key),
        el('p', {}, t('users.endWhat')),
        field(t('users.reason'), input, t('users.reasonLong')),
      ].filter((node) => node !== null),
      confirm: t(key === null ? 'users.endAllStart' : 'users.endStart'),
      danger: true,
      read: () => input.value.trim(),
    });
    if (reason === null) return;
    delete this.#notice.node.dataset.poll;
    try {
      const { ended = 0 } = (await this.#api.call('DELETE', kickPath(mid, { key: key ?? '', reason }))) ?? {};
      this.#notice.say(() => (ended === 0 ? t('users.endedNone') : t('users.ended', { count: ended, mid })));
      this.#poll.now();
    } catch (problem) {
      this.#notice.fail(problem);
    }
  }
}
