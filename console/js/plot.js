// Small stacked time series as SVG: five minutes of a few named values, with axes and a cursor.

import { el, setText, svg } from './dom.js';
import { clock, count, rate, tick } from './format.js';
import { GAP_MS, WINDOW_MS } from './stats.js';
import { t } from './text.js';

const HEIGHT = 148;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 38 };

/** Where the axis ends and its labels stand: 1, 2 or 5 times a power of ten, at most four steps. */
export function axis(max) {
  if (!(max > 0)) return { top: 1, ticks: [0, 1] };
  const raw = max / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999999);
  const steps = Math.ceil(max / step - 1e-9);
  const ticks = Array.from({ length: steps + 1 }, (_, index) => Number((index * step).toPrecision(12)));
  return { top: ticks.at(-1), ticks };
}

/** Points as runs without a gap, each value summed onto those below it: `[[{at, tops: [..]}]]`. */
export function stack(points, names) {
  const runs = [];
  let run = null;
  let before = -Infinity;
  for (const { at, values } of points) {
    if (values === null) {
      run = null;
      continue;
    }
    if (run === null || at - before > GAP_MS) runs.push((run = []));
    let total = 0;
    run.push({ at, tops: names.map((name) => (total += values[name] ?? 0)) });
    before = at;
  }
  return runs;
}

/**
 * One plot in `figure`. `series`: names of the values, lowest first; colours are the classes s1, s2, …
 * `whole`: values are counts. `sparse`: the legend names only what was not 0 all along.
 */
export class Plot {
  #figure;
  #title;
  #series;
  #whole;
  #sparse;
  #points = [];
  #latest = 0;
  #cursor = null;
  #width = 0;
  #nodes;

  constructor(figure, { title, series, whole = false, sparse = false }) {
    this.#figure = figure;
    this.#title = title;
    this.#series = series;
    this.#whole = whole;
    this.#sparse = sparse;
    this.#nodes = this.#build();
    new ResizeObserver(([entry]) => {
      this.#width = Math.floor(entry.contentRect.width);
      this.#draw();
    }).observe(this.#nodes.frame);
  }

  /** `points`: `[{at, values}]` in order, `values` null where nothing is known. `latest`: right end, ms. */
  update(points, latest) {
    this.#points = points;
    this.#latest = latest;
    this.#draw();
  }

  #build() {
    const legend = el('ul', { className: 'legend' });
    const entries = this.#series.map((name, index) => {
      const value = el('b');
      const swatch = el('span', { className: `swatch s${index + 1}` });
      const item = legend.appendChild(el('li', {}, swatch, t(`series.${name}`), ' ', value));
      return { item, value };
    });
    const none = legend.appendChild(el('li', { hidden: true }, t('plot.none')));
    const drawing = svg('svg', { role: 'img', tabindex: '0', height: HEIGHT });
    const tip = el('div', { className: 'tip', hidden: true });
    const frame = el('div', { className: 'plot' }, drawing, tip);
    const caption = el('figcaption', {}, el('h3', {}, this.#title), legend);
    this.#figure.append(caption, frame);

    drawing.addEventListener('pointermove', (event) => this.#moveTo(event.clientX - drawing.getBoundingClientRect().left));
    drawing.addEventListener('pointerleave', () => this.#setCursor(null));
    drawing.addEventListener('blur', () => this.#setCursor(null));
    drawing.addEventListener('keydown', (event) => this.#onKey(event));
    return { frame, drawing, tip, entries, none };
  }

  #onKey(event) {
    const known = this.#points.filter((point) => point.values !== null);
    if (event.key === 'Escape') return this.#setCursor(null);
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || known.length === 0) return;
    event.preventDefault();
    const here = this.#cursor === null ? known.length : known.findIndex((point) => point.at >= this.#cursor);
    const index = Math.min(known.length - 1, Math.max(0, (here < 0 ? known.length : here) + step));
    this.#setCursor(known[index].at);
  }

  #moveTo(x) {
    const at = this.#latest - WINDOW_MS + ((x - MARGIN.left) / this.#plotWidth()) * WINDOW_MS;
    let nearest = null;
    for (const point of this.#points) {
      if (point.values === null) continue;
      if (nearest === null || Math.abs(point.at - at) < Math.abs(nearest - at)) nearest = point.at;
    }
    this.#setCursor(nearest !== null && Math.abs(nearest - at) < 5000 ? nearest : null);
  }

  #setCursor(at) {
    this.#cursor = at;
    this.#draw();
  }

  #plotWidth() {
    return Math.max(1, this.#width - MARGIN.left - MARGIN.right);
  }

  #say(value) {
    return this.#whole ? count(value) : rate(value);
  }

  #draw() {
    if (this.#width < 40) return;
    const start = this.#latest - WINDOW_MS;
    const runs = stack(this.#points.filter((point) => point.at >= start), this.#series);
    const highest = Math.max(0, ...runs.flat().map((point) => point.tops.at(-1)));
    const { top, ticks } = axis(this.#whole ? Math.max(highest, 4) : highest);
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (at) => MARGIN.left + ((at - start) / WINDOW_MS) * this.#plotWidth();
    const y = (value) => bottom - (value / top) * (bottom - MARGIN.top);

    const { drawing } = this.#nodes;
    drawing.setAttribute('width', this.#width);
    drawing.setAttribute('viewBox', `0 0 ${this.#width} ${HEIGHT}`);
    drawing.replaceChildren(...this.#grid(ticks, y, bottom), ...this.#areas(runs, x, y), ...this.#cursorLine(x, bottom));
    if (runs.length === 0) {
      const middle = MARGIN.left + this.#plotWidth() / 2;
      drawing.append(svg('text', { class: 'empty', x: middle, y: bottom / 2 + 8, 'text-anchor': 'middle' }, t('plot.empty')));
    }
    const now = this.#points.at(-1)?.values ?? null;
    this.#drawLegend(now, runs);
    const total = now === null ? '–' : this.#say(this.#total(now));
    drawing.setAttribute('aria-label', t('plot.label', { title: this.#title, value: total }));
    this.#drawTip(x);
  }

  #drawLegend(now, runs) {
    const { entries, none } = this.#nodes;
    const points = runs.flat();
    entries.forEach(({ item, value }, index) => {
      setText(value, now === null ? '–' : this.#say(now[this.#series[index]] ?? 0));
      const below = (point) => (index === 0 ? 0 : point.tops[index - 1]);
      item.hidden = this.#sparse && points.every((point) => point.tops[index] === below(point));
    });
    none.hidden = entries.some(({ item }) => !item.hidden);
  }

  #total(values) {
    return this.#series.reduce((total, name) => total + (values[name] ?? 0), 0);
  }

  // Lines stand on half pixels, so that one pixel is one pixel.
  #grid(ticks, y, bottom) {
    const right = this.#width - MARGIN.right;
    const nodes = ticks.flatMap((value) => {
      const level = Math.round(y(value)) + 0.5;
      return [
        svg('line', { class: value === 0 ? 'base' : 'grid', x1: MARGIN.left, x2: right, y1: level, y2: level }),
        svg('text', { x: MARGIN.left - 6, y: level + 3.5, 'text-anchor': 'end' }, tick(value)),
      ];
    });
    const minutes = WINDOW_MS / 60_000;
    for (let minute = 0; minute <= minutes; minute += 1) {
      const at = Math.round(MARGIN.left + (minute / minutes) * this.#plotWidth()) + 0.5;
      const last = minute === minutes;
      nodes.push(svg('line', { class: 'base', x1: at, x2: at, y1: bottom, y2: bottom + 3 }));
      if (this.#width < 320 && (minutes - minute) % 2 === 1) continue;
      const words = last ? t('plot.now') : t('plot.ago', { minutes: minutes - minute });
      const anchor = last ? 'end' : 'middle';
      nodes.push(svg('text', { x: at, y: bottom + 15, 'text-anchor': anchor }, words));
    }
    return nodes;
  }

  #areas(runs, x, y) {
    const nodes = [];
    for (const run of runs) {
      for (let index = this.#series.length - 1; index >= 0; index -= 1) {
        const below = (point) => (index === 0 ? 0 : point.tops[index - 1]);
        // A series that is nothing all along would only draw over the one below it.
        if (index > 0 && run.every((point) => point.tops[index] === below(point))) continue;
        const line = run.map((point) => `${x(point.at).toFixed(1)},${y(point.tops[index]).toFixed(1)}`);
        const back = run.toReversed().map((point) => `${x(point.at).toFixed(1)},${y(below(point)).toFixed(1)}`);
        nodes.push(svg('polygon', { class: `area s${index + 1}`, points: [...line, ...back].join(' ') }));
        nodes.push(svg('polyline', { class: `line s${index + 1}`, points: line.join(' ') }));
      }
    }
    return nodes;
  }

  #cursorLine(x, bottom) {
    if (this.#cursor === null) return [];
    const at = Math.round(x(this.#cursor)) + 0.5;
    return at < MARGIN.left ? [] : [svg('line', { class: 'cursor', x1: at, x2: at, y1: MARGIN.top, y2: bottom })];
  }

  #drawTip(x) {
    const { tip } = this.#nodes;
    const point = this.#cursor === null ? null : this.#points.find((candidate) => candidate.at === this.#cursor);
    tip.hidden = !point?.values;
    if (tip.hidden) return;
    const rows = this.#series.map((name, index) => {
      const swatch = el('span', { className: `swatch s${index + 1}` });
      return el('li', {}, swatch, el('span', {}, t(`series.${name}`)), el('b', {}, this.#say(point.values[name] ?? 0)));
    });
    const total = el('li', {}, el('span'), el('span', {}, t('plot.total')), el('b', {}, this.#say(this.#total(point.values))));
    tip.replaceChildren(el('time', {}, clock(point.at)), el('ul', {}, ...rows.toReversed(), total));
    const at = x(point.at);
    tip.style.left = at > this.#width / 2 ? '' : `${at + 10}px`;
    tip.style.right = at > this.#width / 2 ? `${this.#width - at + 10}px` : '';
  }
}
