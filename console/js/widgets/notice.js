// The answer to something that was done: a line that is read out once, and a longer form for problems.

import { byId, data, el, setText } from '../dom.js';
import { sentence } from '../problem.js';
import { t } from '../text.js';

/** A line for answers; `node` is in the page from the start, so that screen readers listen to it. */
export class Notice {
  #render = null;

  constructor() {
    this.node = el('div', { className: 'notice', role: 'status' });
  }

  clear() {
    this.#render = null;
    this.node.replaceChildren();
    this.node.className = 'notice';
  }

  /** `words()`: what to say, asked again when the language changes. */
  say(words, tone = 'good') {
    this.#show(() => [el('p', {}, words())], tone);
  }

  /** What went wrong, what to do, and in which words the node said so. `more()`: a further sentence. */
  fail(problem, more = null) {
    this.#show(() => problemWords(problem, more), 'bad');
  }

  #show(render, tone) {
    this.#render = render;
    this.node.className = `notice ${tone}`;
    this.relabel();
  }

  relabel() {
    if (this.#render !== null) this.node.replaceChildren(...this.#render());
  }
}

function problemWords(problem, more) {
  const parts = [el('p', {}, sentence(problem), more === null ? '' : ` ${more()}`)];
  if (problem.detail) {
    // Their words are English, whatever the page speaks.
    const quote = el('q', { lang: 'en', translate: false }, problem.detail);
    parts.push(el('p', { className: 'said' }, t('error.said'), ' ', quote, problem.reason ? data(problem.reason, 'chip') : null));
  }
  return parts;
}

/** Says something once to those who listen, and shows nothing. */
export function announce(words) {
  setText(byId('announcer'), '');
  // An empty region first: the same words twice are said twice.
  setTimeout(() => setText(byId('announcer'), words), 50);
}
