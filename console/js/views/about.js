// What else is to be known of this node, and its fullest rooms.

import { byId, el, setText } from '../dom.js';
import * as format from '../format.js';
import { has, onLanguage, t } from '../text.js';
import { Table } from '../widgets/table.js';
import { roomColumns } from './rooms.js';

export class About {
  #list = byId('about-list');
  #rooms = [];
  #table;

  constructor() {
    const most = () => Math.max(1, this.#rooms[0]?.online ?? 1);
    this.#table = new Table({ label: 'rooms.top', columns: roomColumns(most, true), id: ({ room }) => room, className: 'rooms' });
    this.#table.node.hidden = true;
    byId('overview-rooms').append(this.#table.node);
    onLanguage(() => this.#table.relabel());
  }

  show(stats) {
    this.#rooms = stats.top_rooms ?? [];
    byId('overview-no-rooms').hidden = this.#rooms.length > 0;
    this.#table.node.hidden = this.#rooms.length === 0;
    this.#table.update(this.#rooms);
    this.#facts(stats);
  }

  #facts(stats) {
    const rows = facts(stats);
    if (this.#list.children.length !== rows.length) {
      this.#list.replaceChildren(...rows.map(([name]) => el('div', {}, el('dt', { t: `about.${name}` }), el('dd'))));
    }
    rows.forEach(([name, value, data], index) => {
      const [term, words] = this.#list.children[index].children;
      setText(term, t(`about.${name}`));
      words.translate = !data;
      setText(words, value);
    });
  }
}

// Name, value, and whether the value is data and no words.
function facts(stats) {
  const { counters, listen, log } = stats;
  const addresses = (name) => (listen?.[name]?.length ? [name, listen[name].join(', '), true] : [name, t('about.off'), false]);
  const received = { frames: format.count(counters.frames_received), bytes: format.bytes(counters.bytes_received) };
  const split = { tcp: format.count(stats.connections.tcp), websocket: format.count(stats.connections.websocket) };
  const ended = Object.entries(counters.ended ?? {}).filter(([, value]) => value > 0);
  const more = Object.keys(listen ?? {}).filter((name) => has(`about.${name}`));
  const rows = [
    ...more.map(addresses),
    ['connections', t('about.connectionsValue', split), true],
    ['received', t('about.receivedValue', received)],
    ['heartbeats', format.count(counters.heartbeats)],
    ['upstream', t('about.upstreamValue', { count: format.count(counters.upstream) })],
    ['left', format.count(counters.left)],
    ended.length > 0
      ? ['ended', ended.map(([reason, value]) => `${reason} ${format.count(value)}`).join(', '), true]
      : ['ended', t('about.nobody'), false],
  ];
  if (log) {
    const range = { first: format.count(log.first), end: format.count(log.end), bytes: format.bytes(log.bytes) };
    rows.push(['log', t('about.logValue', range)], ['lag', t('about.lagValue', { count: format.count(log.lag) })]);
  }
  return rows;
}
