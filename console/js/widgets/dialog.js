// Questions before what cannot be taken back, and forms on top of the page. The browser's own dialog keeps the focus inside,
// makes the rest inert, closes on Escape and gives the focus back.

import { el, setText } from '../dom.js';
import { t } from '../text.js';

let last = 0;

/**
 * Asks, and resolves to what `read()` makes of the form, or to null if it was cancelled. `title`, `confirm`: words;
 * `content`: nodes; `danger`: the answer cannot be taken back; `check()` says what is wrong, or null; `extra`: further buttons.
 */
export function ask({ title, content = [], confirm, danger = false, check = () => null, read = () => true, extra = [] }) {
  last += 1;
  const id = `dialog-${last}`;
  const problem = el('p', { className: 'answer bad', role: 'alert' });
  const cancel = el('button', { type: 'button' }, t('dialog.cancel'));
  const go = el('button', { type: 'submit', className: danger ? 'danger' : 'primary' }, confirm);
  const form = el(
    'form',
    { method: 'dialog', noValidate: true, autocomplete: 'off' },
    el('h2', { id }, title),
    ...content,
    problem,
    el('div', { className: 'buttons' }, ...extra, cancel, go),
  );
  const dialog = el('dialog', { 'aria-labelledby': id }, form);
  const before = document.activeElement;
  document.body.append(dialog);
  return new Promise((resolve) => {
    let answer = null;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const wrong = check();
      setText(problem, wrong ?? '');
      if (wrong !== null) {
        form.querySelector('input, textarea')?.focus();
        return;
      }
      answer = read();
      dialog.close();
    });
    cancel.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', () => {
      dialog.remove();
      // A row that went meanwhile took its button along: then the page's heading is the place to be.
      const target = before?.isConnected && before !== document.body ? before : document.querySelector('main section:not([hidden]) h1');
      target?.focus();
      resolve(answer);
    });
    dialog.showModal();
    // What destroys is not under the first press of Enter, unless there is something to fill in.
    (form.querySelector('input, textarea') ?? (danger ? cancel : go)).focus();
  });
}

/** Closes the dialog that stands around `node`, as if it was cancelled. */
export function dismiss(node) {
  node.closest('dialog')?.close();
}

/** A field with its label, and a hint below that belongs to it. */
export function field(label, input, hint = null) {
  last += 1;
  input.id = `field-${last}`;
  const parts = [el('label', { for: input.id }, el('span', {}, label)), input];
  if (hint !== null) {
    const note = typeof hint === 'string' ? el('p', { className: 'hint' }, hint) : hint;
    note.id = `${input.id}-hint`;
    input.setAttribute('aria-describedby', note.id);
    parts.push(note);
  }
  return el('div', { className: 'field' }, ...parts);
}
