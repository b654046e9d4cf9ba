// What a stored message holds, in a cell: one line, and all of it when opened. Bodies are written by anybody: they go in as text,
// isolated, so that no direction mark in them turns what stands beside them.

import { data, el } from '../dom.js';
import * as format from '../format.js';
import { language, t } from '../text.js';

const PREVIEW_CHARS = 160;
/** Bytes of a body that is no text that are shown. */
const HEX_BYTES_MAX = 4096;

/** The beginning of a text in one line, without half a character at its end: `{words, cut}`. */
export function firstLine(text) {
  const line = text.replace(/\s+/g, ' ').trim();
  const chars = Array.from(line.slice(0, 2 * PREVIEW_CHARS));
  return { words: chars.slice(0, PREVIEW_CHARS).join(''), cut: chars.length > PREVIEW_CHARS || line !== text };
}

/** Fills the cell; a message that is shown already is left as it is, opened or not. */
export function showBody(cell, message) {
  const shown = `${message.id} ${message.gone} ${language()}`;
  if (cell.shown === shown) return;
  cell.shown = shown;
  cell.replaceChildren(...parts(message));
}

function parts(message) {
  const { gone, quiet, event, bytes, body } = message;
  if (gone) return [el('span', { className: 'quiet' }, t('stored.gone'))];
  if (bytes === null) return [el('span', { className: 'bad' }, t('stored.unreadable'))];
  const chips = [event ? data(event, 'chip first') : null, quiet ? data('QUIET', 'chip first') : null].filter((chip) => chip !== null);
  if (bytes.byteLength === 0) return [...chips, el('span', { className: 'quiet' }, t('frames.noBody'))];
  return [...chips, body === null ? binary(bytes) : words(body)];
}

const whole = (summary, className, text) =>
  el('details', { className: 'whole' }, el('summary', {}, summary), el('pre', { className, tabIndex: 0, translate: false }, text));

function words(body) {
  const { words: line, cut } = firstLine(body);
  const isolated = el('bdi', { translate: false }, line);
  if (!cut) return isolated;
  isolated.append('…');
  return whole(isolated, '', format.asJson(body) ?? body);
}

function binary(bytes) {
  const size = el('span', { className: 'quiet' }, t('stored.bytes', { size: format.bytes(bytes.byteLength) }));
  return whole(size, 'hex', format.hexDump(bytes.subarray(0, HEX_BYTES_MAX)));
}
