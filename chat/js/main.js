// The page, wired: who comes in, the session, what is shown.

import { KIND } from '../sdk/index.js';
import * as api from './api.js';
import { byId, avatar, setText } from './dom.js';
import { Live } from './live.js';
import { EVERYONE, GROUPS_FROM, Model, isGroup } from './model.js';
import { People } from './people.js';
import { Session } from './session.js';
import { LANGUAGES, fill, language, listed, negotiate, speak, t } from './text.js';
import { socketUrl } from './url.js';
import { Banner } from './views/banner.js';
import { enter, say as sayAtDoor } from './views/door.js';
import { Groups } from './views/groups.js';
import { List } from './views/list.js';
import { LANGUAGE, Menu } from './views/menu.js';
import { Thread } from './views/thread.js';

class App {
  open = null;
  #paused = false;
  #drawing = false;
  #toastTimer = null;

  constructor(person, url) {
    this.person = person;
    this.model = new Model(person.mid);
    const changed = () => this.draw();
    this.people = new People(this.model, changed);
    const failed = (error) => this.toast(t('problem.call', { message: error?.message ?? String(error) }));
    this.session = new Session({ url, mid: person.mid, name: person.name, model: this.model, changed: (one) => this.#changed(one), failed });
    this.live = new Live({ session: this.session, me: person.mid, name: person.name, storage: sessionStorage, changed });
    this.list = new List(this);
    this.thread = new Thread(this);
    this.banner = new Banner(this, this.session.client);
    new Menu(this);
    new Groups(this);
  }

  async start() {
    byId('chat').hidden = false;
    setText(byId('me-name'), this.person.name);
    byId('me-avatar').append(avatar(this.person.mid, this.person.name));
    this.model.conversation(KIND.GROUP, EVERYONE);
    window.addEventListener('hashchange', () => this.route());
    document.addEventListener('visibilitychange', () => this.seen());
    window.addEventListener('focus', () => this.seen());
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.open !== null && !document.querySelector('dialog[open]') && byId('menu-items').hidden) location.hash = '#/';
    });
    this.session.client.on('state', ({ phase }) => phase === 'waiting' && this.live.away());
    await this.session.start();
    await this.people.ask().catch((error) => this.toast(t('problem.call', { message: error.message })));
    this.people.start();
    this.route();
    this.live.start().catch(() => {});
    this.#sayHello();
    // Typing ends, days change.
    setInterval(() => this.draw(), 1_000);
  }

  // Once what others know of us is known.
  async #sayHello() {
    const everyone = this.model.conversation(KIND.GROUP, EVERYONE);
    try {
      await this.session.older(everyone, true);
      await this.session.hello();
    } catch (error) {
      this.toast(t('problem.call', { message: error.message }));
    }
  }

  #changed(conversation) {
    if (conversation?.newest?.line?.word === 'members') this.people.group(conversation.conv, true).then(() => this.draw(), () => {});
    this.draw();
  }

  /** Draws, once for all that changes at a time. */
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    const work = () => {
      this.#drawing = false;
      const { phase } = this.session.client.state;
      const word = { live: 'live', syncing: 'syncing', connecting: 'connecting', authenticating: 'connecting' }[phase] ?? 'offline';
      setText(byId('me-state'), t(`state.${word}`));
      byId('me-state').classList.toggle('on', word === 'live');
      this.list.draw();
      this.thread.draw();
      this.banner.draw();
      const unread = this.model.unread() + this.live.unread;
      document.title = unread > 0 ? `(${unread}) ${t('page.title')}` : t('page.title');
    };
    // A hidden window is given no frames, but its title counts.
    if (document.hidden) setTimeout(work, 50);
    else requestAnimationFrame(work);
  }

  route() {
    const [, where, kind, conv] = location.hash.split('/');
    this.open = null;
    if (where === 'live') this.open = { type: 'live', key: 'live' };
    if (where === 'c' && ['1', '2'].includes(kind) && /^\d{1,19}$/.test(conv ?? '')) {
      const conversation = this.model.conversation(Number(kind), BigInt(conv));
      this.open = { type: 'conversation', key: conversation.key, conversation };
      if (conversation.items.length === 0) this.older(conversation, true);
      if (isGroup(conversation.conv)) this.people.group(conversation.conv, true).then(() => this.draw(), () => {});
    }
    this.live.visible = this.open?.type === 'live';
    byId('chat').classList.toggle('one', this.open !== null);
    this.thread.show(this.open);
    this.seen();
    this.draw();
  }

  /** The end of what is open was seen, if somebody looks. */
  seen() {
    if (document.hidden || !document.hasFocus() || this.open === null) return;
    if (this.open.type === 'live') this.live.seen();
    else this.session.read(this.open.conversation).catch(() => {});
  }

  name(mid) {
    return this.people.name(mid) ?? t('person.unknown', { mid });
  }

  title(conversation) {
    const { kind, conv } = conversation;
    if (kind === KIND.DIRECT) return this.name(conv);
    if (conv === EVERYONE) return t('group.everyone');
    if (conversation.title === '') {
      conversation.title = t('group.unnamed');
      this.people.group(conv).then((group) => {
        if (group.name !== '') conversation.title = group.name;
        this.draw();
      }, () => {});
    }
    return conversation.title;
  }

  membersNote(conversation) {
    if (conversation.conv === EVERYONE) return t('thread.members', { count: this.people.members.size });
    const { members } = this.people.known(conversation.conv);
    return members.length === 0 ? '' : listed(members.slice(0, 8).map((mid) => (mid === this.model.me ? t('message.you') : this.name(mid))));
  }

  /** Who types there now, as a sentence, or null. */
  typists(conversation) {
    const now = performance.now();
    for (const [mid, until] of conversation.typing) if (until < now) conversation.typing.delete(mid);
    const names = [...conversation.typing.keys()].slice(0, 3).map((mid) => this.name(mid));
    if (names.length === 0) return null;
    return t(names.length === 1 ? 'thread.typing' : 'thread.typingMany', { names: listed(names) });
  }

  /** A line between messages. */
  line(item) {
    if (item.type === 'gap') return t('live.gap');
    if (item.type === 'recovered') return t('live.recovered', { count: item.count });
    const { word, added = [], removed = [] } = item.line;
    const names = (mids) => listed(mids.map((mid) => this.name(mid)));
    if (word === 'hello') return t('line.hello', { name: this.name(item.from) });
    if (word === 'members' && added.length > 0) return item.from > 0n && !added.includes(item.from) ? t('line.added', { who: this.name(item.from), names: names(added) }) : t('line.joined', { names: names(added) });
    if (word === 'members') return t('line.removed', { names: names(removed) });
    return ['deleted', 'convert'].includes(word) ? t(`line.${word}`) : word;
  }

  canRecall(item) {
    const limit = this.session.client.session?.limits?.recall_ms ?? 0;
    return item.type === 'text' && item.from === this.model.me && item.convPos > 0n && Date.now() - item.atMs < limit;
  }

  async recall(conversation, item) {
    await this.session.recall(conversation, item).catch((error) => this.toast(t('problem.recall', { message: error.message })));
  }

  async say(open, text, refused) {
    try {
      if (open.type === 'live') await this.live.say(text);
      else await this.session.say(open.conversation, text);
    } catch (error) {
      refused();
      this.toast(t(open.type === 'live' ? 'problem.call' : 'problem.storage', { message: error.message }));
    }
  }

  async retry(conversation, cid) {
    const item = this.model.discard(conversation, cid);
    if (item) await this.say({ type: 'conversation', conversation }, item.text, () => {});
  }

  discard(conversation, cid) {
    this.model.discard(conversation, cid);
    this.draw();
  }

  async older(conversation, end = false) {
    await this.session.older(conversation, end).catch((error) => {
      // A conversation in which nobody wrote yet may not be there.
      if (error.reason !== 'NOT_MEMBER') this.toast(t('problem.call', { message: error.message }));
    });
  }

  async makeGroup(name, members) {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    const id = GROUPS_FROM + (((BigInt(high) & 0xfffffn) << 31n) | BigInt(low >>> 1));
    await api.makeGroup(id, { name, members: [this.model.me, ...members], owner: this.model.me });
    const conversation = this.model.conversation(KIND.GROUP, id);
    conversation.title = name;
    location.hash = `#/c/${conversation.key}`;
  }

  isPaused() {
    return this.#paused;
  }

  pause(wanted) {
    this.#paused = wanted;
    if (wanted) {
      this.live.away();
      this.session.client.pause();
    } else this.session.client.resume();
  }

  speak(code) {
    localStorage.setItem(LANGUAGE, code);
    use(code);
    this.thread.show(this.open);
    this.draw();
  }

  toast(words) {
    const node = byId('toast');
    node.textContent = words;
    node.hidden = false;
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => (node.hidden = true), 6_000);
  }
}

function use(code) {
  speak(code);
  document.documentElement.lang = LANGUAGES[code].locale;
  document.title = t('page.title');
  fill(document);
}

async function main() {
  const stored = localStorage.getItem(LANGUAGE);
  use(stored in LANGUAGES ? stored : negotiate(navigator.languages ?? [navigator.language]));
  let config;
  try {
    config = await api.config();
  } catch {
    return sayAtDoor(t('door.network'));
  }
  if (!config.insecure) return sayAtDoor(t('door.guarded'));
  const person = await enter();
  await new App(person, socketUrl(config.ws, location)).start();
}

main();
