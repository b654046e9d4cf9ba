// Small time series as SVG: five minutes of a few named values, stacked or as lines, with axes and a cursor.

import { el, setAttribute, setText, svg } from '../dom.js';
import { clock } from '../format.js';
import { WINDOW_MS } from '../stats.js';
import { t } from '../text.js';
import { Legend } from './legend.js';
import { axis, line, stack } from './scale.js';

const HEIGHT = 128;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 42 };
/** Nearer than this to a point, ms, the pointer means it. */
const NEAR_MS = 5000;

/**
 * One plot in `figure`. `title`: a key of words. `series`: names of the values, lowest first; colours are the classes s1,
 * s2, … `say` and `tick` write values. `floor`: the axis reaches at least this. `stacked` or lines. `base`: see `axis`.
 */
export class Plot {
  #title;
  #series;
  #manner;
  #points = [];
  #latest = 0;
  #cursor = null;
  #width = 0;
  #legend;
  #nodes;

  constructor(figure, { title, series, say, tick, stacked = true, sparse = false, floor = 0, base = 1000 }) {
    this.#title = title;
    this.#series = series;
    this.#manner = { say, tick, stacked, floor, base };
    this.#legend = new Legend(series, { say, sparse });
    this.#nodes = this.#build(figure);
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

  #build(figure) {
    const drawing = svg('svg', { role: 'img', tabindex: '0', height: HEIGHT });
    const tip = el('div', { className: 'tip', hidden: true });
    // What the arrow keys find is said; what the pointer finds is seen.
    const said = el('p', { className: 'hidden-text', role: 'status' });
    const frame = el('div', { className: 'plot' }, drawing, tip, said);
    figure.append(el('figcaption', {}, el('h3', { t: this.#title }), this.#legend.node), frame);
    drawing.addEventListener('pointermove', (event) => this.#moveTo(event.clientX - drawing.getBoundingClientRect().left));
    drawing.addEventListener('pointerleave', () => this.#setCursor(null));
    drawing.addEventListener('blur', () => this.#setCursor(null));
    drawing.addEventListener('keydown', (event) => this.#onKey(event));
    return { frame, drawing, tip, said };
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
    const values = this.#series.map((name) => `${t(`series.${name}`)} ${this.#manner.say(known[index].values[name] ?? null)}`);
    setText(this.#nodes.said, [clock(known[index].at), ...values].join(', '));
  }

  #moveTo(x) {
    const at = this.#latest - WINDOW_MS + ((x - MARGIN.left) / this.#plotWidth()) * WINDOW_MS;
    let nearest = null;
    for (const point of this.#points) {
      if (point.values === null) continue;
      if (nearest === null || Math.abs(point.at - at) < Math.abs(nearest - at)) nearest = point.at;
    }
    this.#setCursor(nearest !== null && Math.abs(nearest - at) < NEAR_MS ? nearest : null);
  }

  #setCursor(at) {
    if (at === this.#cursor) return;
    this.#cursor = at;
    this.#draw();
  }

  #plotWidth() {
    return Math.max(1, this.#width - MARGIN.left - MARGIN.right);
  }

  #draw() {
    if (this.#width < 40) return;
    const { stacked, floor, base, tick } = this.#manner;
    const start = this.#latest - WINDOW_MS;
    const points = this.#points.filter((point) => point.at >= start);
    const runs = stacked ? stack(points, this.#series) : this.#series.map((name) => line(points, name));
    const tops = stacked ? runs.flat().map((point) => point.tops.at(-1)) : runs.flat(2).map((point) => point.value);
    const { top, ticks } = axis(Math.max(floor, ...tops), base);
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (at) => MARGIN.left + ((at - start) / WINDOW_MS) * this.#plotWidth();
    const y = (value) => bottom - (value / top) * (bottom - MARGIN.top);

    const { drawing } = this.#nodes;
    setAttribute(drawing, 'width', String(this.#width));
    setAttribute(drawing, 'viewBox', `0 0 ${this.#width} ${HEIGHT}`);
    const shapes = stacked ? this.#areas(runs, x, y) : this.#lines(runs, x, y);
    drawing.replaceChildren(...this.#grid(ticks, y, bottom, tick), ...shapes, ...this.#cursorLine(x, bottom));
    if (tops.length === 0) {
      const middle = MARGIN.left + this.#plotWidth() / 2;
      drawing.append(svg('text', { class: 'empty', x: middle, y: bottom / 2 + 8, 'text-anchor': 'middle' }, t('plot.empty')));
    }
    const now = points.at(-1)?.values ?? null;
    this.#legend.update(now, points);
    setAttribute(drawing, 'aria-label', t('plot.label', { title: t(this.#title), value: this.#summary(now) }));
    this.#drawTip(x);
  }

  // One number for those who hear it: the sum where sums make sense, else the highest.
  #summary(values) {
    if (values === null) return '–';
    const known = this.#series.map((name) => values[name] ?? null).filter((value) => value !== null);
    if (known.length === 0) return '–';
    return this.#manner.say(this.#manner.stacked ? known.reduce((total, value) => total + value, 0) : Math.max(...known));
  }

  // Lines stand on half pixels, so that one pixel is one pixel.
  #grid(ticks, y, bottom, say) {
    const right = this.#width - MARGIN.right;
    const nodes = ticks.flatMap((value) => {
      const level = Math.round(y(value)) + 0.5;
      return [
        svg('line', { class: value === 0 ? 'base' : 'grid', x1: MARGIN.left, x2: right, y1: level, y2: level }),
        svg('text', { x: MARGIN.left - 6, y: level + 3.5, 'text-anchor': 'end', translate: 'no' }, say(value)),
      ];
    });
    const minutes = WINDOW_MS / 60_000;
    for (let minute = 0; minute <= minutes; minute += 1) {
      const at = Math.round(MARGIN.left + (minute / minutes) * this.#plotWidth()) + 0.5;
      const last = minute === minutes;
      nodes.push(svg('line', { class: 'base', x1: at, x2: at, y1: bottom, y2: bottom + 3 }));
      if (this.#width < 400 && (minutes - minute) % 2 === 1) continue;
      const words = last ? t('plot.now') : t('plot.ago', { minutes: minutes - minute });
      nodes.push(svg('text', { x: at, y: bottom + 15, 'text-anchor': last ? 'end' : 'middle' }, words));
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
        const upper = run.map((point) => `${x(point.at).toFixed(1)},${y(point.tops[index]).toFixed(1)}`);
        const lower = run.toReversed().map((point) => `${x(point.at).toFixed(1)},${y(below(point)).toFixed(1)}`);
        nodes.push(svg('polygon', { class: `area s${index + 1}`, points: [...upper, ...lower].join(' ') }));
        nodes.push(polyline(index, upper));
      }
    }
    return nodes;
  }

  #lines(series, x, y) {
    const nodes = [];
    series.forEach((runs, index) => {
      for (const run of runs) {
        const points = run.map(({ at, value }) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
        nodes.push(polyline(index, points));
      }
    });
    return nodes;
  }

  #cursorLine(x, bottom) {
    if (this.#cursor === null) return [];
    const at = Math.round(x(this.#cursor)) + 0.5;
    return at < MARGIN.left ? [] : [svg('line', { class: 'cursor', x1: at, x2: at, y1: MARGIN.top, y2: bottom })];
  }

  #drawTip(x) {
    const { tip } = this.#nodes;
    const { say, stacked } = this.#manner;
    const point = this.#cursor === null ? null : this.#points.find((candidate) => candidate.at === this.#cursor);
    tip.hidden = !point?.values;
    if (tip.hidden) return;
    const rows = this.#series.map((name, index) => {
      const swatch = el('span', { className: `swatch s${index + 1}` });
      return el('li', {}, swatch, el('span', {}, t(`series.${name}`)), el('b', {}, say(point.values[name] ?? null)));
    });
    if (stacked && rows.length > 1) {
      rows.unshift(el('li', {}, el('span'), el('span', {}, t('plot.total')), el('b', {}, this.#summary(point.values))));
    }
    tip.replaceChildren(el('time', {}, clock(point.at)), el('ul', {}, ...rows.toReversed()));
    const at = x(point.at);
    tip.style.left = at > this.#width / 2 ? '' : `${at + 10}px`;
    tip.style.right = at > this.#width / 2 ? `${this.#width - at + 10}px` : '';
  }
}

// A point alone is a line of no length: round caps show it.
function polyline(index, points) {
  const drawn = points.length > 1 ? points : [points[0], points[0]];
  return svg('polyline', { class: `line s${index + 1}`, points: drawn.join(' ') });
}
