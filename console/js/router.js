// Which view is shown: `#/users/7`. Views stay in the page, so that a session of the test client lives on.

import { byId } from './dom.js';
import { onLanguage, t } from './text.js';

export const VIEWS = ['overview', 'nodes', 'rooms', 'users', 'groups', 'push', 'client'];

/** `{name, parts}` of a location's hash; what is no view is the overview. */
export function parse(hash) {
  const [name, ...rest] = hash.replace(/^#\/?/, '').split('/');
  if (!VIEWS.includes(name)) return { name: 'overview', parts: [] };
  return { name, parts: rest.map(decode).filter((part) => part !== '') };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a view: names may hold anything. */
export function address(name, ...parts) {
  return `#/${[name, ...parts.map((part) => encodeURIComponent(part))].join('/')}`;
}

/** `views`: by name, with `show(...parts)` and `hide()`. */
export class Router {
  #views;
  #current = null;

  constructor(views) {
    this.#views = views;
    addEventListener('hashchange', () => this.#go(true));
    onLanguage(() => this.#title());
    // A skip link would be taken for a view; it only moves the focus.
    byId('skip').addEventListener('click', (event) => {
      event.preventDefault();
      this.#heading()?.focus();
    });
    this.#go(false);
  }

  #go(moveFocus) {
    const { name, parts } = parse(location.hash);
    const changed = name !== this.#current;
    if (changed) {
      if (this.#current !== null) this.#views[this.#current].hide?.();
      for (const view of VIEWS) byId(`view-${view}`).hidden = view !== name;
      for (const link of document.querySelectorAll('#nav a')) {
        if (link.getAttribute('href') === address(name)) link.setAttribute('aria-current', 'page');
        else link.removeAttribute('aria-current');
      }
      this.#current = name;
      this.#title();
    }
    this.#views[name].show?.(...parts);
    if (changed && moveFocus) {
      scrollTo(0, 0);
      this.#heading()?.focus({ preventScroll: true });
    }
  }

  #heading() {
    return byId(`view-${this.#current}`).querySelector('h1');
  }

  #title() {
    if (this.#current === null) return;
    const title = t('page.title', { view: t(`nav.${this.#current}`) });
    if (document.title !== title) document.title = title;
  }
}
