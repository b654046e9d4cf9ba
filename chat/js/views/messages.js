// The messages of a conversation, or of the live room, as rows: days, lines, bubbles.

import { avatar, el, icon, setText } from '../dom.js';
import { clock, day, t } from '../text.js';

const TOGETHER_MS = 5 * 60_000;

/** Rows for `sync`. `newFrom`: the first position that is new, or null. */
export function rows(app, items, { me, group, newFrom = null, seen = 0n, act = null }) {
  const made = [];
  items.forEach((item, index) => {
    const [before, after] = [items[index - 1], items[index + 1]];
    if (item.atMs && (!before?.atMs || day(before.atMs) !== day(item.atMs))) made.push(separator(`d/${new Date(item.atMs).toDateString()}`, day(item.atMs), 'day'));
    if (newFrom !== null && item.convPos === newFrom) made.push(separator('new', t('message.new'), 'new'));
    if (item.type === 'text' || item.type === 'gone') {
      const shape = { mine: item.from === me, first: !together(before, item), last: !together(item, after), group };
      made.push(bubble(app, item, shape, { seen, act }));
    } else {
      made.push(separator(item.key ?? `m/${item.convPos}`, app.line(item), item.type === 'line' ? 'line' : `line ${item.type}`));
    }
  });
  return made;
}

function together(one, other) {
  const said = (item) => item?.type === 'text' || item?.type === 'gone';
  return said(one) && said(other) && one.from === other.from && other.atMs - one.atMs < TOGETHER_MS && day(one.atMs) === day(other.atMs);
}

function separator(key, words, className) {
  return {
    key,
    make: () => el('li', { className: `separator ${className}` }, el('span')),
    update: (node) => setText(node.firstElementChild, words),
  };
}

function bubble(app, item, { mine, first, last, group }, { seen, act }) {
  const key = item.key ?? (mine && item.cid ? `c/${item.cid}` : `m/${item.convPos}`);
  return {
    key,
    make: () => el('li', {}),
    update: (node) => {
      const name = item.name || app.name(item.from);
      const state = mine ? stateOf(item, seen) : null;
      const isOpen = act !== null && act.isOpen(item);
      const signature = JSON.stringify([item.type, item.text, name, state, item.reason, first, last, item.atMs, t('message.you'), act?.canRecall(item)]);
      node.className = ['message', mine ? 'mine' : 'theirs', first && 'first', last && 'last', item.type === 'gone' && 'gone', state === 'failed' && 'failed', isOpen && 'open'].filter(Boolean).join(' ');
      if (node.dataset.signature === signature) return;
      node.dataset.signature = signature;
      const words = item.type === 'gone' ? t(mine ? 'message.goneMine' : 'message.gone') : item.text;
      const meta = el('span', { className: 'meta' }, el('time', {}, clock(item.atMs)), state === null || item.type === 'gone' ? null : tick(state, item.reason));
      node.replaceChildren(
        ...(group && !mine ? [last ? avatar(item.from, name, { small: true }) : el('span', { className: 'avatar small none' })] : []),
        el(
          'div',
          { className: 'bubble' },
          group && !mine && first ? el('strong', { className: 'author', translate: false }, name) : el('span', { className: 'hidden-text' }, `${mine ? t('message.you') : name}: `),
          el('span', { className: 'text', dir: 'auto', translate: item.type === 'gone' }, words),
          meta,
        ),
        ...(act === null ? [] : act.buttons(item)),
      );
    },
  };
}

// Where one of my messages is: on this device, on its way, in the log, read.
function stateOf(item, seen) {
  if (item.state === 'failed') return 'failed';
  if (item.convPos > 0n) return item.convPos <= seen ? 'seen' : 'accepted';
  if (item.pos !== undefined) return null;
  return item.state ?? 'queued';
}

const TICKS = { queued: 'clock', sent: 'clock', accepted: 'check', seen: 'checks', failed: 'warn' };

function tick(state, reason) {
  const words = t(`message.${state}`, { reason: reason ?? '' });
  return el('span', { className: `tick ${state}`, role: 'img', 'aria-label': words, title: words }, icon(TICKS[state]));
}
