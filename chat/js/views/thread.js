// The open conversation, or the live room: its head, its messages, the composer.

import { avatar, byId, el, icon, setText, sync } from '../dom.js';
import { KIND } from '../../sdk/index.js';
import { EVERYONE, isGroup } from '../model.js';
import { t } from '../text.js';
import { rows } from './messages.js';

const NEAR_PX = 80;

export class Thread {
  #app;
  #open = null;
  #newFrom = null;
  #drafts = new Map();
  #loading = false;
  #chosen = null;
  #stuck = true;

  constructor(app) {
    this.#app = app;
    byId('thread-back').append(icon('back'));
    byId('send').append(icon('send'));
    byId('latest').append(icon('down'));
    const [text, scroller] = [byId('text'), byId('scroller')];
    text.addEventListener('input', () => this.#typed(text));
    text.addEventListener('keydown', (event) => {
      // Not while an input method composes: its Enter chooses a word.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId('older').addEventListener('click', () => this.#older());
    byId('latest').addEventListener('click', () => this.#toEnd());
    scroller.addEventListener('scroll', () => this.#scrolled());
    new ResizeObserver(() => this.#stuck && this.#toEnd()).observe(scroller);
    byId('messages').addEventListener('click', (event) => this.#choose(event));
  }

  /** Shows `{type: 'conversation', conversation}`, `{type: 'live'}`, or nothing. */
  show(open) {
    const text = byId('text');
    if (this.#open !== null) this.#drafts.set(this.#open.key, text.value);
    this.#open = open;
    this.#chosen = null;
    byId('thread').hidden = open === null;
    byId('nothing').hidden = open !== null;
    if (open === null) return;
    byId('messages').replaceChildren();
    text.value = this.#drafts.get(open.key) ?? '';
    this.#fit(text);
    this.#newFrom = open.conversation ? firstNew(open.conversation, this.#app.model.me) : null;
    this.#stuck = true;
    this.draw();
    byId('messages').querySelector('.new')?.scrollIntoView({ block: 'center' });
    if (matchMedia('(min-width: 720px)').matches) text.focus();
    else byId('thread-title').focus({ preventScroll: true });
  }

  draw() {
    if (this.#open === null) return;
    const { live } = this.#app;
    const isLive = this.#open.type === 'live';
    if (isLive) this.#drawLive(live);
    else this.#drawConversation(this.#open.conversation);
    if (this.#stuck) this.#toEnd();
    else this.#scrolled();
  }

  #drawConversation(conversation) {
    const { model, people } = this.#app;
    const { kind, conv } = conversation;
    const group = kind !== KIND.DIRECT;
    const name = this.#app.title(conversation);
    const online = !group && people.online.has(conv);
    this.#head(name, group ? this.#app.membersNote(conversation) : t(online ? 'thread.online' : 'thread.offline'), avatar(conv, name, { online, shape: isGroup(conv) ? 'people' : null }), online);
    const shown = conversation.shown.filter((item) => isWorthALine(item, conv));
    const act = { isOpen: (item) => this.#chosen === item.cid && item.cid !== 0n, canRecall: (item) => this.#app.canRecall(item), buttons: (item) => this.#buttons(conversation, item) };
    const list = rows(this.#app, [...shown, ...conversation.pending], { me: model.me, group, newFrom: this.#newFrom, seen: conversation.peerRead, act });
    if (list.length === 0) list.push(empty(t('thread.empty')));
    sync(byId('messages'), list);
    const more = conversation.oldest > conversation.floor;
    byId('older').hidden = !more;
    const typists = this.#app.typists(conversation);
    this.#typing(typists);
  }

  #drawLive(live) {
    const picture = el('span', { className: 'avatar live', 'aria-hidden': 'true' }, icon('live'));
    this.#head(t('live.title'), `${t('live.present', { count: live.present })} · ${t('live.about')}`, picture, false);
    const items = live.items.map((item, index) => ({ ...item, key: `l/${item.pos || 'n'}/${item.type === 'text' ? '' : index}`, convPos: 0n, cid: 0n }));
    const list = rows(this.#app, items, { me: this.#app.model.me, group: true });
    if (list.length === 0) list.push(empty(t('live.empty')));
    sync(byId('messages'), list);
    byId('older').hidden = true;
    this.#typing(null);
  }

  #head(title, note, picture, online) {
    setText(byId('thread-title'), title);
    setText(byId('thread-note'), note);
    byId('thread-note').classList.toggle('on', online);
    byId('text').placeholder = this.#open.type === 'live' ? t('live.quiet') : t('composer.to', { name: title });
    const place = byId('thread-avatar');
    if (place.dataset.of === picture.outerHTML) return;
    place.dataset.of = picture.outerHTML;
    place.replaceChildren(picture);
  }

  #typing(words) {
    const node = byId('typing');
    node.hidden = words === null;
    if (words === null || node.dataset.words === words) return;
    node.dataset.words = words;
    node.replaceChildren(el('span', { className: 'dots', 'aria-hidden': 'true' }, el('i'), el('i'), el('i')), words);
  }

  #buttons(conversation, item) {
    const button = (word, shape, work) => {
      const node = el('button', { type: 'button', className: 'act', title: t(word), 'aria-label': t(word) }, icon(shape));
      node.addEventListener('click', work);
      return node;
    };
    if (item.state === 'failed') {
      const retry = el('button', { type: 'button', className: 'again' }, t('message.retry'));
      const drop = el('button', { type: 'button', className: 'again' }, t('message.discard'));
      retry.addEventListener('click', () => this.#app.retry(conversation, item.cid));
      drop.addEventListener('click', () => this.#app.discard(conversation, item.cid));
      return [el('span', { className: 'failure' }, el('span', {}, t('message.failed', { reason: item.reason })), retry, drop)];
    }
    return this.#app.canRecall(item) ? [button('message.recall', 'undo', () => this.#app.recall(conversation, item))] : [];
  }

  // A touch on a message shows what can be done with it: there is no hovering with a finger.
  #choose(event) {
    const row = event.target.closest('.message');
    if (row === null || event.target.closest('button')) return;
    const cid = row.dataset.key?.startsWith('c/') ? BigInt(row.dataset.key.slice(2)) : null;
    this.#chosen = this.#chosen === cid ? null : cid;
    this.draw();
  }

  async #submit() {
    const field = byId('text');
    const text = field.value.trim();
    if (text === '' || this.#open === null) return;
    field.value = '';
    this.#fit(field);
    this.#stuck = true;
    this.#newFrom = null;
    await this.#app.say(this.#open, text, () => {
      if (field.value === '') field.value = text;
    });
  }

  #typed(field) {
    this.#fit(field);
    if (field.value.trim() !== '' && this.#open?.conversation) this.#app.session.typing(this.#open.conversation);
  }

  #fit(field) {
    field.style.height = 'auto';
    // An empty one shows a placeholder, which may be longer than its line.
    if (field.value !== '') field.style.height = `${Math.min(field.scrollHeight, 160)}px`;
  }

  async #older() {
    const { conversation } = this.#open ?? {};
    if (this.#loading || !conversation) return;
    this.#loading = true;
    const scroller = byId('scroller');
    const below = scroller.scrollHeight - scroller.scrollTop;
    try {
      await this.#app.older(conversation);
    } finally {
      this.#loading = false;
    }
    if (this.#open?.conversation === conversation) scroller.scrollTop = scroller.scrollHeight - below;
  }

  #scrolled() {
    const scroller = byId('scroller');
    this.#stuck = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
    byId('latest').hidden = this.#stuck;
    if (this.#stuck) this.#app.seen();
    if (scroller.scrollTop < 40 && !byId('older').hidden && scroller.scrollHeight > scroller.clientHeight) this.#older();
  }

  #toEnd() {
    const scroller = byId('scroller');
    scroller.scrollTop = scroller.scrollHeight;
    this.#scrolled();
  }
}

// What was taken back shows where it stood; in the group of everyone people say hello by themselves.
function isWorthALine({ type, line }, conv) {
  if (type !== 'line') return true;
  return line.word !== 'recall' && !(line.word === 'members' && conv === EVERYONE);
}

function empty(words) {
  return { key: 'empty', make: () => el('li', { className: 'empty' }, words) };
}

function firstNew(conversation, me) {
  const { read } = conversation;
  if (conversation.unread(me) === 0) return null;
  return conversation.shown.find(({ convPos, counted, from }) => counted && from !== me && convPos > read)?.convPos ?? null;
}
