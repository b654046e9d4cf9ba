// The list: the live room, conversations, people.

import { avatar, byId, el, icon, setText, sync } from '../dom.js';
import { KIND } from '../../sdk/index.js';
import { EVERYONE, isGroup, keyOf } from '../model.js';
import { brief, t } from '../text.js';

export class List {
  #app;

  constructor(app) {
    this.#app = app;
    const list = byId('conversations').closest('nav');
    list.addEventListener('keydown', (event) => this.#arrows(list, event));
  }

  draw() {
    const { model, people, live, open } = this.#app;
    this.#drawLive(live, open?.type === 'live');
    const spoken = model.list().filter((one) => one.items.length > 0 || one.pending.length > 0 || one.conv === EVERYONE || isGroup(one.conv));
    sync(byId('conversations'), spoken.map((one) => this.#row(one)));
    const direct = new Set(spoken.filter(({ kind }) => kind === KIND.DIRECT).map(({ conv }) => conv));
    const others = people.others();
    const rest = others.filter((mid) => !direct.has(mid)).slice(0, 200);
    sync(byId('people'), rest.map((mid) => this.#person(mid)));
    const title = byId('people-title');
    setText(title, others.length === 0 ? t('side.alone') : t('side.people'));
    title.hidden = others.length > 0 && rest.length === 0;
    title.classList.toggle('hint', others.length === 0);
  }

  #drawLive(live, current) {
    const row = byId('live-link');
    row.replaceChildren(
      el('span', { className: 'avatar live', 'aria-hidden': 'true' }, icon('live')),
      el('span', { className: 'middle' }, el('strong', {}, t('live.title')), el('span', { className: 'preview' }, lastOf(live))),
      el('span', { className: 'end' }, live.unread > 0 ? badge(live.unread) : null),
    );
    mark(row, current);
  }

  #row(conversation) {
    const { key, kind, conv } = conversation;
    return {
      key,
      make: () => el('li', {}, el('a', { className: 'row', href: `#/c/${key}` })),
      update: (node) => this.#fill(node.firstElementChild, conversation, kind, conv),
    };
  }

  #fill(row, conversation, kind, conv) {
    const { model, people, open } = this.#app;
    const name = this.#app.title(conversation);
    const unread = open?.conversation === conversation && !document.hidden ? 0 : conversation.unread(model.me);
    const online = kind === KIND.DIRECT && people.online.has(conv);
    const said = this.#app.typists(conversation) ?? this.#preview(conversation);
    const signature = JSON.stringify([name, unread, online, said, conversation.lastMs, t('side.people')]);
    if (row.dataset.signature !== signature) {
      row.dataset.signature = signature;
      row.replaceChildren(
        avatar(conv, name, { online, shape: isGroup(conv) ? 'people' : null }),
        el('span', { className: 'middle' }, el('strong', { translate: false }, name), el('span', { className: 'preview' }, said)),
        el('span', { className: 'end' }, el('time', {}, conversation.lastMs > 0 ? brief(conversation.lastMs) : ''), unread > 0 ? badge(unread) : null),
      );
      row.classList.toggle('unread', unread > 0);
    }
    mark(row, open?.conversation === conversation);
  }

  #preview(conversation) {
    const item = conversation.preview;
    if (item === null || item === undefined) return '';
    if (item.type === 'gone') return t(item.from === this.#app.model.me ? 'message.goneMine' : 'message.gone');
    if (item.type === 'line') return this.#app.line(item);
    const who = item.from === this.#app.model.me ? t('message.you') : isGroup(conversation.conv) ? this.#app.name(item.from) : null;
    return who === null ? item.text : `${who}: ${item.text}`;
  }

  #person(mid) {
    const { people } = this.#app;
    const key = keyOf(KIND.DIRECT, mid);
    return {
      key,
      make: () => el('li', {}, el('a', { className: 'row', href: `#/c/${key}` })),
      update: (node) => {
        const [row, name, online] = [node.firstElementChild, this.#app.name(mid), people.online.has(mid)];
        const signature = JSON.stringify([name, online, t('thread.online')]);
        if (row.dataset.signature !== signature) {
          row.dataset.signature = signature;
          const words = el('span', { className: 'middle' }, el('strong', { translate: false }, name), el('span', { className: 'preview' }, t(online ? 'state.live' : 'state.offline')));
          row.replaceChildren(avatar(mid, name, { online }), words);
        }
        mark(row, this.#app.open?.conversation?.key === key);
      },
    };
  }

  #arrows(list, event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    const rows = [...list.querySelectorAll('a.row')];
    const next = rows[rows.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}

function lastOf(live) {
  const item = live.items.findLast(({ type }) => type === 'text');
  return item ? `${item.name}: ${item.text}` : t('live.about');
}

function mark(row, current) {
  if (current) row.setAttribute('aria-current', 'page');
  else row.removeAttribute('aria-current');
}

function badge(count) {
  return el('span', { className: 'badge', role: 'img', 'aria-label': t('unread.label', { count }) }, count > 99 ? '99+' : String(count));
}
