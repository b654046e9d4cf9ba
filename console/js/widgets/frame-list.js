// The list of frames: bounded, pausable, drawn at most once per screen refresh.

import { byId, el, setText } from '../dom.js';
import * as format from '../format.js';
import { decodeInt32, WIDE_FIELDS } from '../protocol/frames.js';
import { CARRIERS, closeName, flagNames, KINDS, OP, operationName } from '../protocol/tables.js';
import { onLanguage, t } from '../text.js';

/** Rows that are kept. */
export const ROWS_MAX = 500;
const PREVIEW_CHARS = 160;
/** Nearer than this to the end, px, counts as being at the end. */
const NEAR_END = 24;
const FIELD_NAMES = { convPos: 'conv_pos' };

/** A frame's extended fields that are not 0: `[name, words]`. */
export function extendedFields(frame) {
  const fields = [];
  if (frame.headerLen === 16) return fields;
  if (frame.kind) fields.push(['kind', KINDS[frame.kind] ?? String(frame.kind)]);
  for (const name of WIDE_FIELDS) {
    if (frame[name] === 0n) continue;
    fields.push([FIELD_NAMES[name] ?? name, wide(name, frame)]);
  }
  if (frame.flags) fields.push(['flags', flagNames(frame.flags).join(' ')]);
  return fields;
}

// Users may be negative (guests); a room is a hash, better known by its hexadecimal digits.
function wide(name, frame) {
  if (name === 'from') return String(BigInt.asIntN(64, frame.from));
  if (name === 'conv' && frame.kind === KINDS.indexOf('room')) return `0x${frame.conv.toString(16)}`;
  return String(frame[name]);
}

/** A frame's body in one line: `{words, dim}`. */
export function preview(frame) {
  if (frame.bodySize === 0) return { words: t('frames.noBody'), dim: true };
  if (frame.op === OP.HEARTBEAT_REPLY) {
    const online = decodeInt32(frame.body);
    if (online !== null) return { words: t('frames.peopleOnline', { count: format.count(online) }), dim: false };
  }
  if (CARRIERS.has(frame.op)) return { words: t('frames.framesInside', { bytes: format.bytes(frame.bodySize) }), dim: true };
  const text = bodyText(frame);
  if (text === null) return { words: format.hex(frame.body, 48), dim: false };
  return { words: text.slice(0, PREVIEW_CHARS).replace(/\s+/g, ' '), dim: false };
}

// A body that was cut may end within a character: up to three bytes are left out.
function bodyText(frame) {
  const cut = frame.body.byteLength < frame.bodySize;
  for (let drop = 0; drop <= (cut ? 3 : 0); drop += 1) {
    const text = format.asText(frame.body.subarray(0, frame.body.byteLength - drop));
    if (text !== null) return text;
  }
  return null;
}

function noteWords(row) {
  switch (row.event) {
    case 'opened':
      return t('frames.opened', { url: row.url });
    case 'closed':
      return t('frames.closed', { code: row.code, reason: row.reason || closeName(row.code) || '' });
    case 'text':
      return t('frames.textRefused');
    default:
      return t('frames.undecodable', { message: row.message });
  }
}

const ARROWS = { in: ['↓', 'frames.received'], out: ['↑', 'frames.sent'], note: ['●', 'frames.note'] };
const INSIDE = ['↳', 'frames.inside'];

function render(row) {
  const [arrow, meaning] = row.depth > 0 ? INSIDE : ARROWS[row.direction];
  const cells = [
    el('time', {}, format.clock(row.at, true)),
    el('span', { className: 'direction', title: t(meaning) }, el('span', { className: 'hidden-text' }, `${t(meaning)} `), arrow),
    ...(row.frame === null ? [el('span', { className: 'note' }, noteWords(row))] : frameCells(row)),
  ];
  const beat = row.frame && (row.frame.op === OP.HEARTBEAT || row.frame.op === OP.HEARTBEAT_REPLY);
  const className = `row ${row.direction}${beat ? ' beat' : ''}${row.depth > 0 ? ' inside' : ''}`;
  if (row.bytes.byteLength === 0) return el('li', { className }, el('div', { className: 'cells' }, ...cells));
  const details = el('details', {}, el('summary', { className: 'cells' }, ...cells));
  details.addEventListener('toggle', () => {
    if (!details.open) return;
    if (details.children.length === 1) details.append(renderDetail(row));
    details.scrollIntoView({ block: 'nearest' });
  });
  return el('li', { className }, details);
}

function frameCells({ frame, size, roundTripMs }) {
  const { words, dim } = preview(frame);
  const chips = extendedFields(frame).map(([name, value]) => el('span', { className: 'chip' }, el('i', {}, name), ' ', value));
  if (Number.isFinite(roundTripMs)) chips.unshift(el('span', { className: 'chip trip' }, format.milliseconds(roundTripMs)));
  const bad = frame.op === OP.DISCONNECT || frame.op === OP.ERROR;
  const body = el('span', { className: dim ? 'dim' : 'words' }, words);
  return [
    el('span', { className: bad ? 'op bad' : 'op' }, operationName(frame.op), ' ', el('i', {}, String(frame.op))),
    el('span', { className: 'ver number' }, el('i', {}, 'v'), String(frame.ver)),
    el('span', { className: 'seq number' }, el('i', {}, '#'), String(frame.seq)),
    el('span', { className: 'body' }, body, ...chips.flatMap((chip) => [' ', chip])),
    el('span', { className: 'size number' }, `${size} B`),
  ];
}

function renderDetail(row) {
  const { frame, bytes, size } = row;
  const parts = [];
  if (frame !== null) {
    const header = [
      ['package_len', size],
      ['header_len', frame.headerLen],
      ['ver', frame.ver],
      ['op', `${frame.op} ${operationName(frame.op)}`],
      ['seq', frame.seq],
      ...extendedFields(frame),
    ];
    const fields = header.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value))));
    parts.push(el('h4', {}, t('frames.header')), el('dl', { className: 'fields' }, fields));
    const text = CARRIERS.has(frame.op) || frame.op === OP.HEARTBEAT_REPLY ? null : bodyText(frame);
    if (text) {
      parts.push(el('h4', {}, t('frames.body')), el('pre', { tabIndex: 0 }, format.asJson(text) ?? text));
      if (frame.body.byteLength < frame.bodySize) parts.push(el('p', {}, t('frames.bodyCut', { size: format.bytes(size) })));
    }
  }
  parts.push(el('h4', {}, t('frames.hex')), el('pre', { className: 'hex', tabIndex: 0 }, format.hexDump(bytes)));
  if (bytes.byteLength < size) {
    const cut = { shown: format.bytes(bytes.byteLength), size: format.bytes(size) };
    parts.push(el('p', {}, t('frames.hexCut', cut)));
  }
  return el('div', { className: 'detail' }, ...parts);
}

export class FrameList {
  #list = byId('frames');
  #scroll = byId('frames-scroll');
  #shown = [];
  #waiting = [];
  #paused = false;
  #drawing = false;
  #missed = 0;

  constructor() {
    byId('frames-pause').addEventListener('click', () => this.#setPaused(!this.#paused));
    byId('frames-clear').addEventListener('click', () => this.#clear());
    byId('frames-hide').addEventListener('change', (event) => this.#list.classList.toggle('no-beats', event.target.checked));
    byId('frames-newest').addEventListener('click', () => this.#toEnd());
    this.#scroll.addEventListener('scroll', () => this.#offerNewest(), { passive: true });
    onLanguage(() => {
      this.#list.replaceChildren(...this.#shown.map(render));
      this.#labelPause();
    });
    this.#labelPause();
  }

  /** Appends a row; it shows up with the next refresh, or when the list is resumed. */
  add(row) {
    this.#waiting.push(row);
    if (this.#waiting.length > ROWS_MAX) this.#waiting.shift();
    if (this.#paused) {
      this.#missed += 1;
      this.#labelPause();
    } else if (!this.#drawing) {
      this.#drawing = true;
      requestAnimationFrame(() => this.#draw());
    }
  }

  #draw() {
    this.#drawing = false;
    if (this.#paused) return;
    const follow = this.#atEnd();
    this.#list.append(...this.#waiting.map(render));
    this.#shown = [...this.#shown, ...this.#waiting].slice(-ROWS_MAX);
    this.#waiting = [];
    while (this.#list.children.length > ROWS_MAX) this.#list.firstElementChild.remove();
    byId('frames-empty').hidden = this.#list.children.length > 0;
    if (follow) this.#toEnd();
    else this.#offerNewest();
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < NEAR_END;
  }

  #toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#offerNewest();
  }

  #offerNewest() {
    byId('frames-newest').hidden = this.#atEnd();
  }

  #setPaused(paused) {
    this.#paused = paused;
    this.#missed = 0;
    byId('frames-pause').setAttribute('aria-pressed', String(paused));
    this.#labelPause();
    if (!paused) this.#draw();
  }

  #labelPause() {
    setText(byId('frames-pause'), this.#paused ? t('frames.resume', { count: this.#missed }) : t('frames.pause'));
  }

  #clear() {
    this.#waiting = [];
    this.#shown = [];
    this.#list.replaceChildren();
    this.#missed = 0;
    this.#labelPause();
    byId('frames-empty').hidden = false;
    this.#offerNewest();
  }
}
