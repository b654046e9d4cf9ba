// The nodes, and draining one of them.

import { segment } from '../api.js';
import { byId, data, el, setAttribute, setText } from '../dom.js';
import * as format from '../format.js';
import { Poll } from '../poll.js';
import { onLanguage, t } from '../text.js';
import { ask, field } from '../widgets/dialog.js';
import { Notice } from '../widgets/notice.js';
import { Table } from '../widgets/table.js';

const EVERY_MS = 2000;
const RATE_DEFAULT = 200;
const RATE_MAX = 1_000_000;
/** More drains at once than are asked for. */
const DRAINS_MAX = 20;

/** The path of a node's drain. */
export function drainPath(id) {
  return `/v1/nodes/${segment(id)}:drain`;
}

/** Sessions per second from a field, or null. */
export function parseRate(text) {
  const value = /^[0-9]{1,7}$/.test(text.trim()) ? Number(text) : 0;
  return value >= 1 && value <= RATE_MAX ? value : null;
}

/** How far a drain is: `{gone, start, share}`; sessions that came before it took effect do not make it more than whole. */
export function progressOf({ sessions_at_start: atStart, sessions }) {
  const start = Math.max(atStart ?? 0, sessions ?? 0);
  const gone = start - (sessions ?? 0);
  return { gone, start, share: start === 0 ? 1 : gone / start };
}

export class NodesView {
  #api;
  #store;
  #notice = new Notice();
  #none = el('p', { className: 'quiet', t: 'nodes.none', hidden: true });
  #table;
  /** Null until the first answer. */
  #nodes = null;
  #poll;

  constructor({ api, store }) {
    this.#api = api;
    this.#store = store;
    this.#table = new Table({ label: 'nodes.title', columns: this.#columns(), id: (node) => node.id });
    this.#table.node.hidden = true;
    byId('view-nodes').append(el('div', { className: 'panel' }, this.#notice.node, this.#table.node, this.#none));
    this.#poll = new Poll({
      ask: () => this.#read(),
      everyMs: EVERY_MS,
      onAnswer: (nodes) => this.#take(nodes),
      onFailure: (problem) => this.#failed(problem),
    });
    onLanguage(() => {
      this.#table.relabel();
      this.#notice.relabel();
      this.#draw();
    });
  }

  show() {
    this.#poll.start();
  }

  hide() {
    this.#poll.stop();
    this.#notice.clear();
  }

  refresh() {
    if (!byId('view-nodes').hidden) this.#poll.now();
  }

  #columns() {
    const words = (key, say, className = '') => ({ key, className, update: (cell, node) => setText(cell, say(node)) });
    const addresses = (list) => list.map((address) => el('span', { className: 'line', translate: false }, address));
    return [
      {
        key: 'nodes.node',
        make: () => [data('', 'strong'), el('span', { className: 'chip', t: 'nodes.here', hidden: true })],
        update: (cell, node) => {
          setText(cell.firstElementChild, node.id);
          setText(cell.lastElementChild, t('nodes.here'));
          cell.lastElementChild.hidden = node.id !== this.#store.stats?.node;
        },
      },
      { key: 'nodes.role', make: () => [data('')], update: (cell, node) => setText(cell.firstElementChild, node.role ?? '') },
      {
        key: 'nodes.state',
        className: 'state',
        make: () => [el('span', { className: 'pill' }), el('progress', { max: 1, hidden: true }), el('span', { className: 'line small', hidden: true })],
        update: (cell, node) => this.#state(cell, node),
      },
      words('nodes.sessions', (node) => format.count(node.sessions), 'number'),
      {
        key: 'nodes.addresses',
        update: (cell, node) => {
          const list = [...(node.tcp ?? []).map((one) => `tcp ${one}`), ...(node.ws ?? []).map((one) => `ws ${one}`)];
          if (cell.dataset.shown === list.join()) return;
          cell.dataset.shown = list.join();
          cell.replaceChildren(...addresses(list));
        },
      },
      { key: 'nodes.version', make: () => [data('')], update: (cell, node) => setText(cell.firstElementChild, node.version ?? '–') },
      words('nodes.uptime', (node) => format.duration(Date.now() - node.started_ms), 'number'),
      {
        key: 'nodes.actions',
        className: 'actions-cell',
        make: () => [el('button', { type: 'button' })],
        update: (cell, node) => {
          const button = cell.firstElementChild;
          setText(button, t('nodes.drain'));
          setAttribute(button, 'aria-label', t('nodes.drainOf', { node: node.id }));
          setAttribute(button, 'aria-disabled', String(node.draining === true));
          button.onclick = () => node.draining !== true && this.#drain(node);
        },
      },
    ];
  }

  #state(cell, node) {
    const [pill, bar, line] = cell.children;
    setText(pill, t(node.draining ? 'nodes.draining' : 'nodes.serving'));
    pill.className = `pill ${node.draining ? 'warn' : 'good'}`;
    const { drain } = node;
    bar.hidden = !drain;
    line.hidden = !drain;
    if (!drain) return;
    const { gone, start, share } = progressOf(drain);
    bar.value = share;
    setAttribute(bar, 'aria-label', t('nodes.progressOf', { node: node.id }));
    const time = format.duration(Date.now() - (drain.since_ms ?? Date.now()));
    const rate = format.count(drain.per_second ?? 0);
    setText(line, t('nodes.progress', { gone: format.count(gone), start: format.count(start), rate, time }));
  }

  async #read() {
    const { nodes = [] } = (await this.#api.get('/v1/nodes', { background: true })) ?? {};
    const leaving = nodes.filter((node) => node.draining).slice(0, DRAINS_MAX);
    const drains = await Promise.all(leaving.map((node) => this.#api.get(drainPath(node.id), { background: true }).catch(() => null)));
    leaving.forEach((node, index) => {
      node.drain = drains[index];
    });
    return nodes;
  }

  #take(nodes) {
    this.#nodes = nodes;
    // A problem of the poll goes when the poll goes well again; the answer to a drain stays.
    if (this.#notice.node.dataset.poll === 'true') this.#notice.clear();
    delete this.#notice.node.dataset.poll;
    this.#draw();
  }

  #failed(problem) {
    // A node that was asked to leave is gone: the line at the top of the page says so.
    if (problem.status === 0 && this.#nodes?.some((node) => node.draining)) return;
    this.#notice.node.dataset.poll = 'true';
    this.#notice.fail(problem);
  }

  #draw() {
    if (this.#nodes === null) return;
    this.#none.hidden = this.#nodes.length > 0;
    this.#table.node.hidden = this.#nodes.length === 0;
    this.#table.update(this.#nodes);
  }

  async #drain(node) {
    const input = el('input', { name: 'rate', inputMode: 'numeric', value: String(RATE_DEFAULT), required: true });
    const hint = el('p', { className: 'hint' });
    const estimate = () => {
      const rate = parseRate(input.value);
      setText(hint, rate === null ? t('nodes.badRate') : t('nodes.duration', { time: format.duration((node.sessions / rate) * 1000) }));
    };
    input.addEventListener('input', estimate);
    estimate();
    const rate = await ask({
      title: t('nodes.drainTitle', { node: node.id }),
      content: [el('p', {}, t('nodes.drainWhat', { count: node.sessions })), field(t('nodes.perSecond'), input, hint)],
      confirm: t('nodes.drainStart'),
      danger: true,
      check: () => (parseRate(input.value) === null ? t('nodes.badRate') : null),
      read: () => parseRate(input.value),
    });
    if (rate === null) return;
    delete this.#notice.node.dataset.poll;
    try {
      await this.#api.call('POST', drainPath(node.id), { body: JSON.stringify({ per_second: rate }) });
      this.#notice.say(() => t('nodes.drainAccepted', { node: node.id, rate: format.count(rate) }));
      this.#poll.now();
    } catch (problem) {
      this.#notice.fail(problem);
    }
  }
}
