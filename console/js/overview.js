// What is connected and what flows: the header, the tiles, the plots, the tables.

import { byId, el, setText } from './dom.js';
import * as format from './format.js';
import { Plot } from './plot.js';
import { History, sum } from './stats.js';
import { has, t } from './text.js';

const TILES = ['sessions', 'users', 'rooms', 'delivered', 'pushes', 'writes', 'queued', 'dropped'];
const DELIVERED = ['direct', 'room', 'all'];
const DROPPED = ['offline', 'filtered', 'expired', 'slow', 'closing'];

/** A group of values in words, largest first, without zeros: `room 3 · all 1`. */
function parts(group, say) {
  return Object.entries(group ?? {})
    .filter(([, value]) => value > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, value]) => `${has(`series.${name}`) ? t(`series.${name}`) : name} ${say(value)}`)
    .join(' · ');
}

export class Overview {
  #history = new History();
  #tiles = new Map();
  #plots;
  #lostSince = null;
  #onRoom;

  /** `onRoom(room)`: somebody chose a room from the table. */
  constructor({ onRoom }) {
    this.#onRoom = onRoom;
    for (const name of TILES) {
      const value = el('dd', { className: 'value' }, '–');
      const note = el('dd', { className: 'note' }, '\u00a0');
      byId('tiles').append(el('div', { className: `tile tile-${name}` }, el('dt', {}, t(`tile.${name}`)), value, note));
      this.#tiles.set(name, { value, note });
    }
    const plot = (name, series, manner = {}) =>
      new Plot(byId('plots').appendChild(el('figure', { className: 'panel' })), { title: t(`plot.${name}`), series, ...manner });
    this.#plots = {
      delivered: plot('delivered', DELIVERED),
      sessions: plot('sessions', ['tcp', 'websocket'], { whole: true }),
      dropped: plot('dropped', DROPPED, { sparse: true }),
    };
  }

  /** Shows a snapshot. */
  show(stats) {
    this.#lostSince = null;
    document.body.classList.remove('stale');
    const rates = this.#history.add(stats);
    this.#header(stats);
    this.#showTiles(stats, rates);
    this.#showPlots();
    this.#rooms(stats.top_rooms ?? []);
    this.#about(stats);
    this.#alert(stats.log?.poisoned ? t('alert.poisoned', { message: stats.log.poisoned }) : null);
  }

  /** The node did not answer. */
  lose(message) {
    this.#lostSince ??= Date.now();
    document.body.classList.add('stale');
    this.#state('lost', 'bad');
    this.#alert(t('alert.lost', { time: format.clock(this.#lostSince), message }));
  }

  #alert(words) {
    const alert = byId('alert');
    setText(alert, words ?? '');
    alert.hidden = words === null;
  }

  #state(name, tone) {
    const state = byId('node-state');
    setText(state, t(`node.${name}`));
    state.className = `pill ${tone}`;
  }

  #header(stats) {
    if (stats.draining) this.#state('draining', 'warn');
    else if (stats.ready) this.#state('ready', 'good');
    else this.#state('unready', 'bad');
    setText(byId('node-name'), stats.node);
    setText(byId('node-version'), stats.version);
    setText(byId('node-uptime'), format.duration(stats.now_ms - stats.started_ms));
    setText(byId('node-updated'), format.clock(Date.now()));
  }

  #tile(name, value, note, tone = '') {
    const tile = this.#tiles.get(name);
    setText(tile.value, value);
    setText(tile.note, note || '\u00a0');
    tile.value.className = `value ${tone}`;
    tile.note.title = note;
  }

  #showTiles(stats, rates) {
    const { counters } = stats;
    const sessions = sum(stats.sessions);
    const perSecond = (value) => format.rate(rates === null ? null : value);
    const split = { tcp: format.tick(stats.sessions.tcp), websocket: format.tick(stats.sessions.websocket) };
    this.#tile('sessions', format.count(sessions), t('tile.split', split));
    const each = stats.users > 0 ? t('tile.perUser', { value: (sessions / stats.users).toFixed(1) }) : '';
    this.#tile('users', format.count(stats.users), each);
    const largest = stats.top_rooms?.[0];
    this.#tile('rooms', format.count(stats.rooms), largest ? t('tile.top', { online: format.count(largest.online) }) : '');
    const nothing = t('tile.nothing');
    this.#tile('delivered', perSecond(rates?.deliveredTotal), parts(rates?.delivered, format.rate) || nothing);
    this.#tile('pushes', perSecond(rates?.pushesTotal), parts(rates?.pushes, format.rate) || nothing);
    this.#tile('writes', perSecond(rates?.writes), t('tile.sent', { bytes: format.bytes(rates?.bytesSent ?? 0) }));
    const blocked = t('tile.blocked', { blocked: format.count(stats.blocked) });
    this.#tile('queued', format.bytes(stats.queued_bytes), blocked, stats.blocked > 0 ? 'warn' : '');
    const dropped = sum(counters.dropped);
    const before = dropped > 0 ? t('tile.total', { total: format.count(dropped) }) : t('tile.never');
    const tone = (rates?.dropped.slow ?? 0) > 0 ? 'warn' : '';
    this.#tile('dropped', perSecond(rates?.droppedTotal), parts(rates?.dropped, format.rate) || before, tone);
  }

  #showPlots() {
    const { points, latest } = this.#history;
    const series = (pick) => points.map((point) => ({ at: point.at, values: pick(point) }));
    this.#plots.delivered.update(series((point) => point.rates?.delivered ?? null), latest);
    this.#plots.sessions.update(series((point) => point.sessions), latest);
    this.#plots.dropped.update(series((point) => point.rates?.dropped ?? null), latest);
  }

  #rooms(rooms) {
    const body = byId('rooms-body');
    byId('rooms-none').hidden = rooms.length > 0;
    byId('rooms-table').hidden = rooms.length === 0;
    const most = Math.max(1, ...rooms.map((room) => room.online));
    // Rows are kept where they are, so that a focused button stays focused.
    while (body.rows.length > rooms.length) body.deleteRow(-1);
    rooms.forEach(({ room, online }, index) => {
      const row = body.rows[index] ?? this.#roomRow(body);
      const button = row.querySelector('button');
      setText(button, room);
      button.title = t('rooms.use', { room });
      setText(row.querySelector('.online'), format.count(online));
      row.querySelector('.share').style.width = `${(100 * online) / most}%`;
    });
  }

  #roomRow(body) {
    const button = el('button', { type: 'button', className: 'link' });
    button.addEventListener('click', () => this.#onRoom(button.textContent));
    const share = el('div', { className: 'share-box' }, el('div', { className: 'share' }));
    const row = el('tr', {}, el('td', {}, button), el('td', {}, share), el('td', { className: 'online number' }));
    return body.appendChild(row);
  }

  #about(stats) {
    const { counters, listen, log } = stats;
    const addresses = (list) => (list?.length ? list.join(', ') : t('about.off'));
    const received = { frames: format.count(counters.frames_received), bytes: format.bytes(counters.bytes_received) };
    const split = { tcp: format.count(stats.connections.tcp), websocket: format.count(stats.connections.websocket) };
    const ended = Object.entries(counters.ended ?? {}).filter(([, value]) => value > 0);
    const rows = [
      ['tcp', addresses(listen?.tcp)],
      ['ws', addresses(listen?.ws)],
      ['http', addresses(listen?.http)],
      ['connections', t('about.connectionsValue', split)],
      ['received', t('about.receivedValue', received)],
      ['heartbeats', format.count(counters.heartbeats)],
      ['upstream', t('about.upstreamValue', { count: format.count(counters.upstream) })],
      ['left', format.count(counters.left)],
      ['ended', ended.map(([reason, value]) => `${reason} ${format.count(value)}`).join(', ') || t('about.nobody')],
    ];
    if (log) {
      const range = { first: format.count(log.first), end: format.count(log.end), bytes: format.bytes(log.bytes) };
      rows.push(['log', t('about.logValue', range)], ['lag', t('about.lagValue', { count: format.count(log.lag) })]);
    }
    const list = byId('about-list');
    if (list.children.length !== rows.length) {
      list.replaceChildren(...rows.map(([name]) => el('div', {}, el('dt', {}, t(`about.${name}`)), el('dd'))));
    }
    rows.forEach(([, value], index) => setText(list.children[index].lastElementChild, value));
  }
}
