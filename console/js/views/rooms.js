// The fullest rooms, as they fill.

import { query } from '../api.js';
import { byId, data, el, setAttribute, setText } from '../dom.js';
import * as format from '../format.js';
import { Poll } from '../poll.js';
import { address } from '../router.js';
import { onLanguage, t } from '../text.js';
import { Notice } from '../widgets/notice.js';
import { Table } from '../widgets/table.js';

const EVERY_MS = 2000;

/** The columns of a table of rooms; `actions`: links to push and to join. */
export function roomColumns(most, actions) {
  const link = (key, say, view) => ({
    make: () => el('a', { className: 'button small' }),
    update: (node, room) => {
      setText(node, t(key));
      setAttribute(node, 'aria-label', t(say, { room }));
      setAttribute(node, 'href', address(view, 'room', room));
    },
  });
  const links = [link('rooms.push', 'rooms.pushTo', 'push'), link('rooms.join', 'rooms.joinTo', 'client')];
  const columns = [
    { key: 'rooms.room', className: 'name', make: () => [data('', 'strong')], update: (cell, { room }) => setText(cell.firstElementChild, room) },
    { key: 'rooms.online', className: 'number', update: (cell, { online }) => setText(cell, format.count(online)) },
    {
      key: 'rooms.share',
      className: 'share-cell',
      make: () => [el('span', { className: 'share-box' }, el('span', { className: 'share' }))],
      update: (cell, { online }) => {
        cell.firstElementChild.firstElementChild.style.width = `${(100 * online) / most()}%`;
      },
    },
  ];
  if (actions) {
    columns.push({
      key: 'rooms.actions',
      className: 'actions-cell',
      make: () => links.map(({ make }) => make()),
      update: (cell, { room }) => links.forEach(({ update }, index) => update(cell.children[index], room)),
    });
  }
  return columns;
}

export class RoomsView {
  #api;
  #form = byId('rooms-form');
  #notice = new Notice();
  #none = el('p', { className: 'quiet', hidden: true });
  #table;
  #rooms = null;
  #poll;

  constructor({ api }) {
    this.#api = api;
    const most = () => Math.max(1, this.#rooms?.[0]?.online ?? 1);
    this.#table = new Table({ label: 'rooms.top', columns: roomColumns(most, true), id: ({ room }) => room, className: 'rooms' });
    this.#table.node.hidden = true;
    byId('rooms-panel').append(this.#notice.node, this.#table.node, this.#none);
    this.#poll = new Poll({
      ask: () => this.#read(),
      everyMs: EVERY_MS,
      onAnswer: ({ rooms }) => this.#take(rooms ?? []),
      onFailure: (problem) => this.#notice.fail(problem),
    });
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    this.#form.addEventListener('change', () => this.#poll.now());
    onLanguage(() => {
      this.#table.relabel();
      this.#notice.relabel();
      this.#draw();
    });
  }

  show() {
    this.#poll.start();
  }

  hide() {
    this.#poll.stop();
  }

  refresh() {
    if (!byId('view-rooms').hidden) this.#poll.now();
  }

  get #type() {
    return this.#form.elements.type.value.trim();
  }

  #read() {
    return this.#api.get(`/v1/rooms${query({ type: this.#type, limit: this.#form.elements.limit.value })}`, { background: true });
  }

  #take(rooms) {
    this.#rooms = rooms;
    this.#notice.clear();
    this.#draw();
  }

  #draw() {
    if (this.#rooms === null) return;
    const empty = this.#rooms.length === 0;
    this.#none.hidden = !empty;
    this.#table.node.hidden = empty;
    setText(this.#none, this.#type === '' ? t('rooms.none') : t('rooms.noneOf', { type: this.#type }));
    this.#table.update(this.#rooms);
  }
}
