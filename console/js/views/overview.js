// What is connected and what flows: the tiles, the plots.

import { byId, el, setText } from '../dom.js';
import * as format from '../format.js';
import { sum } from '../stats.js';
import { has, onLanguage, t } from '../text.js';
import { Plot } from '../widgets/plot.js';
import { About } from './about.js';

const TILES = ['sessions', 'users', 'rooms', 'delivered', 'pushes', 'dropped', 'sent', 'received', 'queued', 'latency', 'cpu', 'memory'];

/** The plots: what they draw of a point, and in which manner. */
const PLOTS = {
  delivered: { series: ['direct', 'room', 'all'], pick: ({ rates }) => rates?.delivered ?? null, say: format.rate },
  pushes: { series: ['mids', 'room', 'keys', 'all'], pick: ({ rates }) => rates?.pushes ?? null, say: format.rate },
  dropped: {
    series: ['offline', 'filtered', 'expired', 'slow', 'closing', 'collapsed'],
    pick: ({ rates }) => rates?.dropped ?? null,
    say: format.rate,
    sparse: true,
  },
  sessions: { series: ['tcp', 'websocket'], pick: ({ sessions }) => sessions, say: format.count, floor: 4 },
  bytes: {
    series: ['sent', 'received'],
    pick: ({ rates }) => rates && { sent: rates.bytesSent, received: rates.bytesReceived },
    say: format.byteRate,
    tick: format.byteTick,
    stacked: false,
    base: 1024,
  },
  latency: { series: ['request', 'append', 'sync'], pick: ({ latency }) => latency, say: format.milliseconds, stacked: false },
  cpu: { series: ['cpu'], pick: ({ rates }) => rates && { cpu: rates.cpuPercent ?? 0 }, say: format.percent, floor: 10 },
  memory: {
    series: ['rss', 'queued'],
    pick: ({ memory }) => memory,
    say: format.bytes,
    tick: format.byteTick,
    stacked: false,
    base: 1024,
  },
};

/** A group of values in words, largest first, without zeros: `room 3 · all 1`. */
function parts(group, say) {
  return Object.entries(group ?? {})
    .filter(([, value]) => value > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, value]) => `${has(`series.${name}`) ? t(`series.${name}`) : name} ${say(value)}`)
    .join(' · ');
}

export class Overview {
  #store;
  #tiles = new Map();
  #plots = new Map();
  #about = new About();
  #visible = false;

  constructor({ store }) {
    this.#store = store;
    for (const name of TILES) {
      const value = el('dd', { className: 'value', translate: false }, '–');
      const note = el('dd', { className: 'note' }, '\u00a0');
      byId('tiles').append(el('div', { className: 'tile' }, el('dt', { t: `tile.${name}` }), value, note));
      this.#tiles.set(name, { value, note });
    }
    for (const [name, { pick, ...manner }] of Object.entries(PLOTS)) {
      const figure = byId('plots').appendChild(el('figure', { className: 'panel' }));
      this.#plots.set(pick, new Plot(figure, { title: `plot.${name}`, tick: format.tick, ...manner }));
    }
    store.subscribe(() => this.#draw());
    onLanguage(() => this.#draw());
  }

  show() {
    this.#visible = true;
    this.#draw();
  }

  hide() {
    this.#visible = false;
  }

  #draw() {
    const { stats, point, history } = this.#store;
    if (!this.#visible || stats === null) return;
    this.#showTiles(stats, point);
    for (const [pick, plot] of this.#plots) {
      plot.update(history.points.map((one) => ({ at: one.at, values: pick(one) })), history.latest);
    }
    this.#about.show(stats);
  }

  #tile(name, value, note, tone = '') {
    const tile = this.#tiles.get(name);
    setText(tile.value, value);
    setText(tile.note, note || '\u00a0');
    tile.value.className = `value ${tone}`;
    tile.note.title = note;
  }

  #showTiles(stats, { rates, latency }) {
    const sessions = sum(stats.sessions);
    const split = { tcp: format.tick(stats.sessions.tcp), websocket: format.tick(stats.sessions.websocket) };
    this.#tile('sessions', format.count(sessions), t('tile.split', split));
    const each = stats.users > 0 ? t('tile.perUser', { value: format.rate(sessions / stats.users) }) : '';
    this.#tile('users', format.count(stats.users), each);
    const largest = stats.top_rooms?.[0];
    this.#tile('rooms', format.count(stats.rooms), largest ? t('tile.top', { online: format.count(largest.online) }) : '');
    const nothing = t('tile.nothing');
    const rate = (value) => format.rate(value ?? null);
    this.#tile('delivered', rate(rates?.deliveredTotal), parts(rates?.delivered, format.rate) || nothing);
    this.#tile('pushes', rate(rates?.pushesTotal), parts(rates?.pushes, format.rate) || nothing);
    this.#drops(stats, rates);
    this.#tile('sent', format.bytes(rates?.bytesSent ?? null), t('tile.writes', { value: rate(rates?.writes) }));
    this.#tile('received', format.bytes(rates?.bytesReceived ?? null), t('tile.frames', { value: rate(rates?.framesReceived) }));
    const blocked = t('tile.blocked', { blocked: format.count(stats.blocked) });
    this.#tile('queued', format.bytes(stats.queued_bytes), blocked, stats.blocked > 0 ? 'warn' : '');
    const lag = stats.latency?.lag_ms;
    this.#tile('latency', format.milliseconds(latency?.append ?? null), lag === undefined ? '' : t('tile.lag', { value: format.milliseconds(lag) }));
    this.#process(stats.process, rates);
  }

  #drops(stats, rates) {
    const total = sum(stats.counters.dropped);
    const before = total > 0 ? t('tile.total', { total: format.count(total) }) : t('tile.never');
    const tone = (rates?.dropped.slow ?? 0) > 0 ? 'warn' : '';
    this.#tile('dropped', format.rate(rates?.droppedTotal ?? null), parts(rates?.dropped, format.rate) || before, tone);
  }

  #process(process, rates) {
    const unknown = t('tile.unknown');
    const cores = process?.cores ? t('tile.cores', { count: process.cores }) : unknown;
    this.#tile('cpu', format.percent(rates?.cpuPercent ?? null), process?.cpu_ms === null ? unknown : cores);
    const files = Number.isFinite(process?.open_fds) ? t('tile.files', { count: format.count(process.open_fds) }) : unknown;
    this.#tile('memory', format.bytes(process?.rss_bytes ?? null), files);
  }
}
