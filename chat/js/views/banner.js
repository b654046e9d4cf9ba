// What is wrong with the connection, and what can be done.

import { byId, setText } from '../dom.js';
import { t } from '../text.js';

/** A loss that is mended at once is not worth a word. */
const PATIENCE_MS = 700;

export class Banner {
  #client;
  #app;
  #since = null;
  #work = () => {};

  constructor(app, client) {
    this.#app = app;
    this.#client = client;
    byId('banner-action').addEventListener('click', () => this.#work());
    setInterval(() => this.draw(), 250);
  }

  draw(now = Date.now()) {
    const { phase, retryAtMs, error } = this.#client.state;
    const banner = byId('banner');
    if (phase === 'live' || phase === 'syncing') {
      this.#since = null;
      banner.hidden = true;
      return;
    }
    this.#since ??= now;
    if (phase === 'stopped' && this.#app.isPaused()) this.#say('paused', t('banner.paused'), 'banner.back', () => this.#app.pause(false));
    else if (phase === 'stopped') this.#say('bad', t('banner.stopped', { reason: error?.reason ?? '', message: error?.message ?? '' }), 'banner.again', () => this.#client.resume());
    else if (now - this.#since < PATIENCE_MS) return;
    else if (phase === 'waiting') {
      const seconds = Math.max(1, Math.ceil((retryAtMs - now) / 1000));
      this.#say('warn', t('banner.waiting', { seconds }), 'banner.now', () => this.#client.hurry());
    } else this.#say('warn', t('banner.connecting'), null, () => {});
    banner.hidden = false;
  }

  #say(look, words, action, work) {
    byId('banner').className = `banner ${look}`;
    setText(byId('banner-text'), words);
    const button = byId('banner-action');
    button.hidden = action === null;
    if (action !== null) setText(button, t(action));
    this.#work = work;
  }
}
