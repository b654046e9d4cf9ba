// A group or channel: who is in it, and its timeline.

import { query } from '../api.js';
import { byId, data, el, setText } from '../dom.js';
import * as format from '../format.js';
import { Poll } from '../poll.js';
import { address } from '../router.js';
import { onLanguage, t } from '../text.js';
import { kindWords, Messages } from '../widgets/messages.js';
import { Notice } from '../widgets/notice.js';

const EVERY_MS = 2000;
/** A group with more members is not read again each time: a channel may have a million. */
const MEMBERS_POLLED_MAX = 500;
const MEMBERS_SHOWN_MAX = 200;
/** More are folded away at first: they would stand between a keyboard and the timeline. */
const MEMBERS_OPEN_MAX = 20;
const NOT_FOUND = 404;
const NOT_KEPT = 501;

/** The id of a field, or null if it is none. */
export function parseGroup(text) {
  const id = text.trim();
  return /^[1-9][0-9]{0,15}$/.test(id) && Number.isSafeInteger(Number(id)) ? id : null;
}

export class GroupsView {
  #api;
  #form = byId('groups-form');
  #notice = new Notice();
  #messages;
  #id = null;
  #group = null;
  #known = null;
  #poll;

  constructor({ api }) {
    this.#api = api;
    this.#messages = new Messages({ api, position: 'convPos', label: 'groups.timeline', conversations: false });
    byId('groups-notice').append(this.#notice.node);
    byId('groups-messages').append(this.#messages.node);
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
    onLanguage(() => {
      this.#messages.relabel();
      this.#notice.relabel();
      this.#draw();
    });
  }

  /** `text`: the id of a group. */
  show(text = '') {
    const id = parseGroup(text);
    if (id !== null && id === this.#id) {
      this.#poll.start();
      return;
    }
    this.#notice.clear();
    if (text !== '' && id === null) this.#notice.say(() => t('groups.bad'), 'bad');
    if (text !== '') this.#form.elements.id.value = text;
    this.#forget(id);
    if (id === null) this.#poll.stop();
    else this.#poll.start();
  }

  hide() {
    this.#poll.stop();
  }

  refresh() {
    if (byId('view-groups').hidden || this.#id === null) return;
    this.#forget(this.#id);
    this.#poll.now();
  }

  #forget(id) {
    this.#id = id;
    this.#group = null;
    this.#known = null;
    this.#messages.close();
    this.#draw();
  }

  #find() {
    const id = parseGroup(this.#form.elements.id.value);
    if (id === null) {
      this.#notice.say(() => t('groups.bad'), 'bad');
      this.#form.elements.id.focus();
      return;
    }
    const target = address('groups', id);
    if (location.hash === target) this.refresh();
    else location.hash = target;
  }

  async #read() {
    const id = this.#id;
    const path = `/v1/groups/${id}`;
    const get = (where) => this.#api.get(where, { background: true });
    let group = this.#group;
    if (group === null || group.members.length <= MEMBERS_POLLED_MAX) {
      const { members, ...rest } = await get(path);
      group = { ...rest, members: Array.isArray(members) ? members : [] };
      // The floor is told with messages only; while they are read, theirs is the newest.
      const { floor } = this.#messages.known ?? {};
      if (floor !== undefined) return { id, group, known: { head: group.head, floor } };
    }
    const { head, floor } = await get(`${path}/messages${query({ limit: 1 })}`);
    return { id, group, known: { head, floor } };
  }

  #take({ id, group, known }) {
    if (id !== this.#id) return;
    this.#notice.clear();
    const isFirst = this.#known === null;
    this.#group = group;
    this.#known = known;
    if (isFirst) {
      byId('groups-who').open = group.members.length <= MEMBERS_OPEN_MAX;
      this.#messages.open(`/v1/groups/${id}/messages`, known);
    } else {
      this.#messages.know(known);
    }
    this.#draw();
  }

  #failed(problem) {
    const id = this.#id;
    if (problem.status === NOT_KEPT) this.#notice.say(() => t('stored.none'), 'warn');
    else if (problem.status === NOT_FOUND) this.#notice.say(() => t('groups.unknown', { id }), 'warn');
    else this.#notice.fail(problem);
    // What there is no more is not shown; what only does not answer stays.
    if ([NOT_KEPT, NOT_FOUND].includes(problem.status)) this.#forget(id);
    this.#draw();
  }

  #draw() {
    const group = this.#group;
    byId('groups-start').hidden = this.#id !== null;
    byId('groups-loading').hidden = this.#id === null || group !== null || this.#notice.node.childElementCount > 0;
    byId('groups-panel').hidden = group === null;
    if (group === null) return;
    const kind = kindWords(group.kind);
    setText(byId('groups-heading'), t('groups.heading', { kind, id: this.#id }));
    setText(byId('groups-name'), typeof group.name === 'string' ? group.name : '');
    user(byId('groups-owner'), group.owner);
    setText(byId('groups-count'), format.count(group.members_total ?? group.members.length));
    setText(byId('groups-version'), format.count(group.version));
    setText(byId('groups-head'), format.count(this.#known.head));
    setText(byId('groups-floor'), this.#known.floor > this.#known.head ? '–' : format.count(this.#known.floor));
    this.#drawMembers(group.members);
  }

  #drawMembers(members) {
    const shown = members.slice(0, MEMBERS_SHOWN_MAX);
    const list = byId('groups-members');
    const said = shown.join();
    // Links that are there keep their focus.
    if (list.dataset.said !== said) {
      list.dataset.said = said;
      list.replaceChildren(...shown.map((mid) => el('li', {}, el('a', { translate: false, href: address('users', String(mid)) }, String(mid)))));
    }
    const more = members.length - shown.length;
    byId('groups-more').hidden = more === 0;
    setText(byId('groups-more'), t('groups.more', { count: more }));
  }
}

// Nobody is 0.
function user(cell, mid) {
  if (cell.firstElementChild?.textContent === String(mid)) return;
  cell.replaceChildren(mid > 0 ? el('a', { translate: false, href: address('users', String(mid)) }, String(mid)) : data('–'));
}
