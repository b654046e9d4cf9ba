// The inbox of the user that is shown: where it stands, how far each device is, and what is in it.

import { byId, data, el, setText } from '../dom.js';
import * as format from '../format.js';
import { progressOf } from '../stored.js';
import { t } from '../text.js';
import { Messages } from '../widgets/messages.js';
import { Table } from '../widgets/table.js';

const NOTHING = { head: 0, floor: 1, epoch: 0 };

/** Where an inbox stands, of an answer; null where no messages are kept. */
export function inboxOf({ inbox }) {
  return inbox !== null && typeof inbox === 'object' ? { ...NOTHING, ...inbox } : null;
}

/** Devices with how far they are, the furthest behind first. `sessions` tell which of them are connected. */
export function devicesOf({ devices = [], sessions = [] }, inbox) {
  // A session that named no device counts as one of its platform.
  const connected = new Set(sessions.map(({ device_id: device, platform }) => device || platform));
  return devices
    .map((device) => ({ ...device, ...progressOf(inbox, device.cursor), connected: connected.has(device.device_id) }))
    .sort((a, b) => b.behind - a.behind);
}

export class InboxPanel {
  #devices;
  #messages;
  #mid = null;
  #answer = null;

  constructor({ api }) {
    this.#devices = new Table({ label: 'stored.devices', columns: deviceColumns(), id: ({ device_id: device }) => device });
    this.#messages = new Messages({ api, position: 'pos', label: 'stored.messages', conversations: true });
    byId('inbox-devices').append(this.#devices.node);
    byId('inbox-messages').append(this.#messages.node);
  }

  /** `answer`: what the node tells of the user, null while that is unknown; `mid`: a text. */
  show(mid, answer) {
    const inbox = answer === null ? null : inboxOf(answer);
    if (inbox === null || mid !== this.#mid) this.#messages.close();
    if (inbox !== null) {
      if (mid === this.#mid && inboxOf(this.#answer ?? {})?.epoch === inbox.epoch) this.#messages.know(inbox);
      else this.#messages.open(`/v1/users/${mid}/inbox`, inbox);
    }
    this.#mid = inbox === null ? null : mid;
    this.#answer = answer;
    this.#draw();
  }

  relabel() {
    this.#devices.relabel();
    this.#messages.relabel();
    this.#draw();
  }

  #draw() {
    const inbox = this.#answer === null ? null : inboxOf(this.#answer);
    byId('inbox-panel').hidden = this.#answer === null;
    byId('inbox-none').hidden = inbox !== null;
    byId('inbox-kept').hidden = inbox === null;
    byId('inbox-facts').hidden = inbox === null;
    if (inbox === null) return;
    setText(byId('inbox-head'), format.count(inbox.head));
    setText(byId('inbox-floor'), inbox.floor > inbox.head ? '–' : format.count(inbox.floor));
    setText(byId('inbox-epoch'), inbox.epoch > 0 ? format.moment(inbox.epoch) : '–');
    const devices = devicesOf(this.#answer, inbox);
    byId('inbox-no-devices').hidden = devices.length > 0;
    this.#devices.node.hidden = devices.length === 0;
    this.#devices.update(devices);
  }
}

function deviceColumns() {
  return [
    { key: 'stored.device', make: () => [data('')], update: (cell, { device_id: device }) => setText(cell.firstElementChild, device || '–') },
    {
      key: 'stored.connected',
      make: () => [el('span', { className: 'pill' })],
      update: (cell, { connected }) => {
        setText(cell.firstElementChild, t(connected ? 'users.isOnline' : 'users.isOffline'));
        cell.firstElementChild.className = connected ? 'pill good' : 'pill';
      },
    },
    { key: 'stored.cursor', className: 'number', make: () => [data('')], update: (cell, { cursor }) => setText(cell.firstElementChild, format.count(cursor)) },
    {
      key: 'stored.behind',
      make: () => [el('span'), el('span', { className: 'chip warn' })],
      update: (cell, { behind, lost }) => {
        const [words, chip] = cell.children;
        setText(words, behind === 0 ? t('stored.upToDate') : t('stored.behindBy', { count: behind }));
        chip.hidden = lost === 0;
        setText(chip, t('stored.lost', { count: lost }));
      },
    },
    { key: 'stored.seen', className: 'time', make: () => [data('')], update: (cell, { seen_ms: seen }) => setText(cell.firstElementChild, seen > 0 ? format.moment(seen) : '–') },
  ];
}
