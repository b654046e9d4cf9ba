// The legend of a plot: a colour, a name and the value of now for each series.

import { el, setText } from '../dom.js';

export class Legend {
  #entries;
  #none;
  #say;
  #sparse;

  /** `say(value)`: the value in words. `sparse`: only what was not 0 all along is named. */
  constructor(series, { say, sparse }) {
    this.#say = say;
    this.#sparse = sparse;
    this.node = el('ul', { className: series.length > 3 ? 'legend tall' : 'legend' });
    this.#entries = series.map((name, index) => {
      const value = el('b', { translate: false });
      const swatch = el('span', { className: `swatch s${index + 1}` });
      const item = el('li', {}, swatch, el('span', { t: `series.${name}` }), ' ', value);
      this.node.append(item);
      return { name, item, value };
    });
    this.#none = el('li', { hidden: true, t: 'plot.none' });
    this.node.append(this.#none);
  }

  /** `now`: the newest values or null; `points`: all that is drawn. */
  update(now, points) {
    for (const { name, item, value } of this.#entries) {
      setText(value, now === null ? '–' : this.#say(now[name] ?? null));
      if (this.#sparse) item.hidden = points.every(({ values }) => !(values?.[name] > 0));
    }
    this.#none.hidden = this.#entries.some(({ item }) => !item.hidden);
  }
}
