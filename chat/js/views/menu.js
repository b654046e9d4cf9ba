// The menu: offline, language, theme, another name.

import { byId, el, icon } from '../dom.js';
import { setWindow } from '../identity.js';
import { LANGUAGES, language, t } from '../text.js';

const THEMES = ['auto', 'light', 'dark'];
export const LANGUAGE = 'perseid.language';
const THEME = 'perseid.theme';

export class Menu {
  #app;

  constructor(app) {
    this.#app = app;
    const button = byId('menu');
    button.append(icon('more'));
    button.addEventListener('click', () => (this.#isOpen() ? this.#close() : this.#open()));
    byId('menu-items').addEventListener('keydown', (event) => this.#key(event));
    document.addEventListener('click', (event) => {
      if (this.#isOpen() && !event.target.closest('#menu, #menu-items')) this.#close(false);
    });
  }

  #isOpen() {
    return !byId('menu-items').hidden;
  }

  #open() {
    const theme = document.documentElement.dataset.theme ?? 'auto';
    const offline = this.#app.isPaused();
    const others = Object.entries(LANGUAGES).filter(([code]) => code !== language());
    const items = [
      item(t(offline ? 'menu.online' : 'menu.offline'), () => this.#app.pause(!offline)),
      item(t('menu.theme', { theme: t(`menu.${theme}`) }), () => paint(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]), true),
      ...others.map(([code, { name, locale }]) => item(name, () => this.#app.speak(code), false, locale)),
      item(t('menu.leave'), () => leave()),
      el('a', { href: '/', role: 'menuitem', tabIndex: -1 }, t('menu.console')),
    ];
    byId('menu-items').replaceChildren(...items.map((node) => this.#wire(node)));
    byId('menu-items').hidden = false;
    byId('menu').setAttribute('aria-expanded', 'true');
    items[0].focus();
  }

  #wire(node) {
    node.addEventListener('click', () => {
      const stays = node.dataset.stays === 'true';
      this.#close();
      if (stays) this.#open();
    });
    return node;
  }

  #close(focus = true) {
    byId('menu-items').hidden = true;
    byId('menu').setAttribute('aria-expanded', 'false');
    if (focus) byId('menu').focus();
  }

  #key(event) {
    const items = [...byId('menu-items').children];
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === 'Escape' || event.key === 'Tab') return this.#close(event.key === 'Escape');
    if (to === undefined) return;
    event.preventDefault();
    items[to % items.length].focus();
  }
}

function item(words, work, stays = false, lang = undefined) {
  const node = el('button', { type: 'button', role: 'menuitem', tabIndex: -1, lang }, words);
  node.dataset.stays = String(stays);
  node.addEventListener('click', work);
  return node;
}

function paint(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  if (theme === 'auto') localStorage.removeItem(THEME);
  else localStorage.setItem(THEME, theme);
}

// The page begins anew, at the door.
function leave() {
  setWindow(sessionStorage, null);
  sessionStorage.setItem('perseid.chat.door', 'open');
  location.hash = '#/';
  location.reload();
}
