// The top of the page: the state of the node, and the one line that says what is wrong.

import { byId, data, setText } from './dom.js';
import * as format from './format.js';
import { sentence } from './problem.js';
import { onLanguage, t } from './text.js';

const REFUSED = [401, 403];

/** The node's state and its tone, from the store. */
export function stateOf({ stats, trouble }) {
  if (trouble !== null && REFUSED.includes(trouble.problem.status)) return ['denied', 'bad'];
  if (trouble !== null) return ['lost', 'bad'];
  if (stats === null) return ['waiting', ''];
  if (stats.draining) return ['draining', 'warn'];
  return stats.ready ? ['ready', 'good'] : ['unready', 'bad'];
}

/** What stands in the line of alarms: `{key, values, tone, action}`, or null. `action`: `retry`, `token` or none. */
export function alarmOf({ stats, trouble, seenMs }, nowMs) {
  if (trouble !== null) {
    const { problem, nextMs } = trouble;
    const message = sentence(problem);
    if (nextMs === null) return { key: 'alert.denied', values: { message }, tone: 'bad', action: 'token' };
    const seconds = Math.max(1, Math.ceil((nextMs - nowMs) / 1000));
    const time = format.clock(seenMs ?? nowMs);
    const left = stats?.draining && problem.status === 0;
    return { key: left ? 'alert.left' : 'alert.lost', values: { time, seconds, message }, tone: left ? 'warn' : 'bad', action: 'retry' };
  }
  if (stats?.log?.poisoned) return { key: 'alert.poisoned', values: { message: stats.log.poisoned }, tone: 'bad', action: null };
  if (stats?.draining) return { key: 'alert.draining', values: {}, tone: 'warn', action: null };
  return null;
}

export class Header {
  #store;
  #token;
  #said = '';

  /** `askToken()`: opens the dialog. */
  constructor({ store, token, askToken }) {
    this.#store = store;
    this.#token = token;
    byId('token').addEventListener('click', () => askToken());
    byId('alert-retry').addEventListener('click', () => store.retry());
    byId('alert-token').addEventListener('click', () => askToken());
    store.subscribe(() => this.#draw());
    token.onChange(() => this.#draw());
    onLanguage(() => this.#draw());
    // Only the seconds until the next try move by themselves.
    setInterval(() => store.trouble !== null && this.#alarm(), 1000);
    this.#draw();
  }

  #draw() {
    const { stats, seenMs } = this.#store;
    const [name, tone] = stateOf(this.#store);
    const pill = byId('node-state');
    setText(pill, t(`node.${name}`));
    pill.className = `pill ${tone}`;
    setText(byId('token-label'), t(this.#token.value === null ? 'settings.token' : 'settings.tokenSet'));
    byId('token').classList.toggle('set', this.#token.value !== null);
    document.body.classList.toggle('stale', this.#store.trouble !== null);
    this.#alarm();
    if (stats === null) return;
    setText(byId('node-name'), stats.node);
    setText(byId('node-version'), stats.version);
    setText(byId('node-uptime'), format.duration(stats.now_ms - stats.started_ms));
    setText(byId('node-updated'), format.clock(seenMs));
  }

  #alarm() {
    const alarm = alarmOf(this.#store, Date.now());
    byId('alert').hidden = alarm === null;
    if (alarm === null) {
      this.#said = '';
      setText(byId('alert-said'), '');
      return;
    }
    byId('alert').className = `alert ${alarm.tone}`;
    setText(byId('alert-words'), t(alarm.key, alarm.values));
    byId('alert-retry').hidden = alarm.action !== 'retry';
    byId('alert-token').hidden = alarm.action !== 'token';
    // The seconds count down in sight; heard is each alarm once.
    if (this.#said === alarm.key) return;
    this.#said = alarm.key;
    byId('alert-said').replaceChildren(data(t(alarm.key, alarm.values)));
  }
}
