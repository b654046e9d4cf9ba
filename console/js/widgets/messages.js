// Stored messages, newest first, in pages: the inbox of a user, the timeline of a group. Follows what comes while the newest
// page is shown.

import { data, el, setAttribute, setText } from '../dom.js';
import * as format from '../format.js';
import { backoff, REFUSED } from '../poll.js';
import { address } from '../router.js';
import { PAGE_SIZE, pageUpTo, readPage } from '../stored.js';
import { has, t } from '../text.js';
import { showBody } from './message-body.js';
import { announce, Notice } from './notice.js';
import { Table } from './table.js';

const NOT_KEPT = 501;

/** The words of a kind. */
export function kindWords(kind) {
  return has(`stored.kind.${kind}`) ? t(`stored.kind.${kind}`) : '–';
}

/** A link to a user or a group, as text where there is none; `{words, href}`. */
export function linkOf({ kind, id }) {
  if (id === 0) return { words: '–', href: null };
  if (kind === 'direct') return { words: String(id), href: address('users', String(id)) };
  if (kind === 'group' || kind === 'channel') return { words: String(id), href: address('groups', String(id)) };
  return { words: String(id), href: null };
}

/** `position`: which of a message's positions counts here, `pos` or `convPos`. `label`: words for the table. */
export class Messages {
  #api;
  #position;
  #table;
  #notice = new Notice();
  #path = null;
  #known = null;
  #page = null;
  /** Position that the page ends with; Infinity follows the newest. */
  #last = Infinity;
  #round = 0;
  #busy = false;
  #failures = 0;
  #againMs = 0;
  #state = el('p', { className: 'quiet' });
  #range = el('span', { className: 'quiet' });
  #newest = this.#button('stored.newest', () => Infinity);
  #newer = this.#button('stored.newer', () => this.#page.last + PAGE_SIZE);
  #older = this.#button('stored.older', () => this.#page.first - 1);
  #bar = el('div', { className: 'heading pages' }, this.#newest, this.#newer, this.#older, this.#range);

  constructor({ api, position, label, conversations }) {
    this.#api = api;
    this.#position = position;
    this.#table = new Table({ label, columns: this.#columns(conversations), id: (message) => `${message[position]} ${message.id}`, className: 'messages' });
    this.node = el('div', {}, this.#notice.node, this.#bar, this.#state, this.#table.node);
    this.#draw();
  }

  /** `{head, floor}` as last told, null when nothing is shown. */
  get known() {
    return this.#known;
  }

  /** Shows the newest of `path`; `known`: `{head, floor}`. */
  open(path, known) {
    this.close();
    this.#path = path;
    this.#known = known;
    this.#load(true);
  }

  close() {
    this.#round += 1;
    this.#path = null;
    this.#known = null;
    this.#page = null;
    this.#last = Infinity;
    this.#busy = false;
    this.#failures = 0;
    this.#notice.clear();
    this.#draw();
  }

  /** What is known now of head and floor: what is new is read if the newest page is shown, and what failed is tried again. */
  know(known) {
    if (this.#path === null) return;
    this.#known = known;
    if (this.#busy) return;
    if (this.#failures > 0 ? Date.now() >= this.#againMs : this.#last === Infinity && this.#isBehind()) this.#load(true);
    else this.#draw();
  }

  // Whether the newest page is another one by now.
  #isBehind() {
    const { first = 0, last = 0 } = pageUpTo(Infinity, this.#known) ?? {};
    return first !== this.#page.first || last !== this.#page.last;
  }

  relabel() {
    this.#table.relabel();
    this.#notice.relabel();
    this.#draw();
  }

  // `last()`: the position that the page of this button ends with.
  #button(key, last) {
    const button = el('button', { type: 'button', className: 'small', t: key });
    button.addEventListener('click', () => button.getAttribute('aria-disabled') !== 'true' && this.#turn(last()));
    return button;
  }

  #turn(last) {
    if (this.#busy || this.#page === null) return;
    // The page with the head on it is the newest: it follows.
    this.#last = last >= this.#known.head ? Infinity : last;
    this.#load(false);
  }

  async #load(background) {
    this.#round += 1;
    const round = this.#round;
    this.#busy = true;
    this.#draw();
    try {
      const get = (path) => this.#api.get(path, { background });
      const page = await readPage(get, { path: this.#path, position: this.#position, known: this.#known, last: this.#last });
      if (round !== this.#round) return;
      this.#page = page;
      // Told together, so they fit; the next know() brings what came since.
      this.#known = { head: page.head, floor: page.floor };
      this.#failures = 0;
      this.#notice.clear();
      if (!background) announce(this.#rangeWords());
    } catch (problem) {
      if (round !== this.#round) return;
      this.#failures += 1;
      this.#againMs = REFUSED.includes(problem.status) ? Infinity : Date.now() + backoff(this.#failures, problem.retryAfterMs);
      if (problem.status === NOT_KEPT) this.#notice.say(() => t('stored.none'), 'warn');
      else this.#notice.fail(problem);
    } finally {
      if (round === this.#round) {
        this.#busy = false;
        this.#draw();
      }
    }
  }

  #rangeWords() {
    const { head, floor } = this.#known;
    const { first, last } = this.#page;
    return last === 0 ? '' : t('stored.range', { first: format.count(first), last: format.count(last), floor: format.count(floor), head: format.count(head) });
  }

  #draw() {
    const page = this.#page;
    const rows = page?.messages ?? [];
    const paged = page !== null && page.last > 0;
    this.#bar.hidden = !paged;
    this.#table.node.hidden = rows.length === 0;
    const state = this.#stateWords();
    this.#state.hidden = state === '';
    setText(this.#state, state);
    this.#table.update([...rows].reverse());
    setText(this.#range, paged ? this.#rangeWords() : '');
    if (!paged) return;
    const still = (button, off) => setAttribute(button, 'aria-disabled', String(off));
    still(this.#newest, this.#last === Infinity);
    still(this.#newer, page.last >= this.#known.head);
    still(this.#older, page.first <= this.#known.floor);
  }

  #stateWords() {
    if (this.#path === null) return '';
    if (this.#page === null) return this.#busy ? t('stored.loading') : '';
    if (this.#page.messages.length > 0) return '';
    return this.#known.head === 0 ? t('stored.empty') : t('stored.allGone', { count: this.#known.head });
  }

  #columns(conversations) {
    const number = (key, pick, className = 'number') => ({
      key,
      className,
      make: () => [data('')],
      update: (cell, message) => setText(cell.firstElementChild, String(pick(message))),
    });
    const link = (key, pick) => ({
      key,
      make: () => [el('a', { translate: false })],
      update: (cell, message) => {
        const { words, href } = pick(message);
        const anchor = cell.firstElementChild;
        setText(anchor, words);
        if (href === null) anchor.removeAttribute('href');
        else setAttribute(anchor, 'href', href);
      },
    });
    const columns = [
      number('stored.position', (message) => message[this.#position], ''),
      {
        key: 'stored.time',
        className: 'time',
        make: () => [data('')],
        update: (cell, { timeMs, id }) => {
          setText(cell.firstElementChild, timeMs === null ? '–' : format.moment(timeMs));
          setAttribute(cell.firstElementChild, 'title', id);
        },
      },
      { key: 'stored.kind', update: (cell, { kind }) => setText(cell, kindWords(kind)) },
      conversations ? link('stored.conversation', ({ conv }) => linkOf(conv)) : null,
      {
        key: 'stored.from',
        make: () => [el('a', { translate: false })],
        update: (cell, { from }) => this.#sender(cell.firstElementChild, from),
      },
      number('stored.op', ({ op }) => op),
      { key: 'stored.body', className: 'body-cell', update: showBody },
    ];
    return columns.filter((column) => column !== null);
  }

  #sender(anchor, from) {
    setText(anchor, from === 0 ? t('stored.system') : String(from));
    if (from === 0) anchor.removeAttribute('href');
    else setAttribute(anchor, 'href', address('users', String(from)));
    anchor.translate = from === 0;
  }
}
