// The test client's panel: its forms, its state, its frames.

import { Client, socketUrl } from '../protocol/client.js';
import { byId, setText } from '../dom.js';
import * as format from '../format.js';
import { FrameList } from '../widgets/frame-list.js';
import { parseOperations } from '../protocol/frames.js';
import { closeName, comesBack, OP } from '../protocol/tables.js';
import { onLanguage, t } from '../text.js';

const TICK_MS = 250;
const TONES = { idle: '', connecting: 'warn', authenticating: 'warn', live: 'good', closing: 'warn', closed: 'bad' };

export class ClientView {
  #frames = new FrameList();
  #connectForm = byId('client-form');
  #actions = byId('client-actions');
  #urlTouched = false;
  #client = new Client({ onRow: (row) => this.#frames.add(row), onState: (state) => this.#draw(state) });

  constructor() {
    const { url } = this.#connectForm.elements;
    url.addEventListener('input', () => {
      this.#urlTouched = true;
    });
    this.#connectForm.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#toggle();
    });
    this.#onSubmit('room-form', ({ room }) => this.#client.changeRoom(room.value.trim()));
    this.#onSubmit('operations-form', ({ operations }, submitter) => this.#changeOperations(operations.value, submitter.value));
    this.#onSubmit('upstream-form', (fields) => this.#upstream(fields));
    this.#onSubmit('session-form', (_, submitter) => this.#client[submitter.value]());
    byId('upstream-form').addEventListener('input', () => this.#shapeUpstream());
    setInterval(() => {
      this.#client.tick();
      this.#countdown(this.#client.state);
    }, TICK_MS);
    onLanguage(() => this.#draw(this.#client.state));
    this.#draw(this.#client.state);
  }

  /** The push form comes along: what it sends shows up in the list of frames. `room`: to be joined. */
  show(what, room) {
    byId('client-side').append(byId('push-panel'));
    if (what !== 'room' || room === undefined) return;
    if (this.#client.state.phase !== 'live') this.#connectForm.elements.room.value = room;
    byId('room-form').elements.room.value = room;
  }

  /** The node said where it listens for WebSocket. */
  offerAddress(listen) {
    if (this.#urlTouched || !listen?.length || this.#client.state.phase !== 'idle') return;
    const { url } = this.#connectForm.elements;
    const address = socketUrl(listen[0], location);
    if (url.value !== address) url.value = address;
  }

  #onSubmit(id, work) {
    byId(id).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#complain('');
      try {
        work(event.target.elements, event.submitter);
      } catch (error) {
        this.#complain(error.message);
      }
    });
  }

  #complain(words) {
    setText(byId('client-problem'), words);
  }

  #toggle() {
    const { phase } = this.#client.state;
    this.#complain('');
    if (phase !== 'idle' && phase !== 'closed') {
      this.#client.disconnect();
      return;
    }
    try {
      this.#client.connect(this.#options());
    } catch (error) {
      this.#complain(error instanceof DOMException ? t('client.refused', { message: error.message }) : error.message);
    }
  }

  #options() {
    const { url, mode, mid, key, room, accepts, platform, token, every } = this.#connectForm.elements;
    if (!/^wss?:\/\/./.test(url.value.trim())) throw new Error(t('client.badUrl'));
    if (!/^-?(0|[1-9]\d{0,18})$/.test(mid.value.trim())) throw new Error(t('client.badMid'));
    const operations = accepts.value.trim() === '' ? [] : parseOperations(accepts.value.trim());
    if (operations === null) throw new Error(t('client.badAccepts'));
    return {
      url: url.value.trim(),
      extended: mode.value === 'extended',
      mid: mid.value.trim(),
      key: key.value.trim(),
      room: room.value.trim(),
      accepts: operations,
      platform: platform.value.trim(),
      token: token.value.trim(),
      heartbeatMs: Math.min(240, Math.max(1, Number(every.value) || 30)) * 1000,
    };
  }

  #changeOperations(text, action) {
    if (parseOperations(text) === null) throw new Error(t('client.badAccepts'));
    this.#client[action](text);
  }

  #upstream({ op, kind, conv, message }) {
    const number = /^-?\d+$/.test(op.value.trim()) ? Number(op.value) : NaN;
    if (!(number >= -0x8000_0000 && number <= 0x7fff_ffff)) throw new Error(t('action.badOp'));
    if (!this.#isMessage()) {
      this.#client.upstream(number, message.value);
      return;
    }
    if (!/^-?\d{1,20}$/.test(conv.value.trim())) throw new Error(t('action.badConv'));
    this.#client.message(Number(kind.value), BigInt(conv.value.trim()), message.value);
  }

  // Operation 4 of an extended session is a message from one user to another.
  #isMessage() {
    return Boolean(this.#client.state.extended) && byId('upstream-form').elements.op.value.trim() === String(OP.SEND_MSG);
  }

  #shapeUpstream() {
    const message = this.#isMessage();
    for (const node of document.querySelectorAll('.message-only')) node.hidden = !message;
    setText(byId('upstream-send'), t(message ? 'action.sendMessage' : 'action.send'));
  }

  #draw(state) {
    const { phase } = state;
    const busy = phase !== 'idle' && phase !== 'closed';
    const pill = byId('client-state');
    setText(pill, t(`client.${phase}`));
    pill.className = `pill ${phase === 'closed' && state.end?.code === 1000 ? '' : TONES[phase]}`;
    const button = byId('client-connect');
    setText(button, t(busy ? 'client.disconnect' : 'client.connect'));
    button.classList.toggle('primary', !busy);
    byId('client-settings').disabled = busy;
    this.#actions.disabled = phase !== 'live';
    for (const node of document.querySelectorAll('.extended-only')) node.hidden = !state.extended;
    this.#shapeUpstream();
    this.#showEnd(state);
    this.#facts(state);
    this.#countdown(state);
  }

  #showEnd({ phase, end }) {
    const line = byId('client-end');
    line.hidden = phase !== 'closed' || end === null;
    if (line.hidden) return;
    const words = [t('client.ended', { code: end.code, reason: end.reason || closeName(end.code) || '' }).trim()];
    if (end.message) words.push(end.message);
    const back = comesBack(end.code);
    const seconds = Math.ceil((end.retryAfterMs ?? 0) / 1000);
    if (back === true && seconds > 0) words.push(t('client.comeBackIn', { seconds }));
    else if (back === true) words.push(t('client.comeBack'));
    else if (back === false) words.push(t('client.stayAway'));
    setText(line, words.join(' · '));
  }

  #facts(state) {
    const live = state.phase === 'live';
    byId('client-facts').hidden = !live;
    if (!live) return;
    setText(byId('fact-room'), state.room || t('client.noRoom'));
    setText(byId('fact-online'), state.online === null ? '–' : format.count(state.online));
    setText(byId('fact-accepts'), state.accepts.join(', ') || t('client.nothing'));
    const traffic = { sent: format.count(state.sent), received: format.count(state.received) };
    setText(byId('fact-traffic'), t('client.trafficValue', traffic));
    setText(byId('fact-inbox'), t('client.inboxValue', { cursor: state.cursor ?? 0, head: state.head ?? 0 }));
  }

  #countdown({ heartbeatAt }) {
    if (heartbeatAt === null) return;
    const left = Math.max(0, heartbeatAt - (performance.timeOrigin + performance.now()));
    setText(byId('fact-heartbeat'), `${Math.ceil(left / 1000)} s`);
  }
}
