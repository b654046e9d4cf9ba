// Asking for the API token: because the node wants one, or because somebody wants to change it.

import { el } from '../dom.js';
import { sentence } from '../problem.js';
import { t } from '../text.js';
import { mistake } from '../token.js';
import { ask, dismiss, field } from './dialog.js';

/** Asks one question at a time: whoever asks meanwhile gets the same answer, true if there is a new token. */
export function tokenDialog(token, say) {
  let open = null;
  return (problem = null) => {
    open ??= askFor(token, say, problem).finally(() => {
      open = null;
    });
    return open;
  };
}

async function askFor(token, say, problem) {
  const input = el('input', { type: 'password', name: 'token', spellcheck: false, autocomplete: 'off', required: true });
  const content = [];
  if (problem !== null && token.value !== null) content.push(el('p', { className: 'answer bad' }, sentence(problem)));
  content.push(el('p', {}, t(problem === null ? 'token.change' : 'token.why')));
  if (problem !== null) content.push(el('code', { className: 'mono', translate: false }, 'perseid token --api'));
  content.push(field(t('token.field'), input, t('token.kept')));
  const forget = el('button', { type: 'button', hidden: token.value === null }, t('token.forget'));
  let forgotten = false;
  forget.addEventListener('click', () => {
    forgotten = true;
    dismiss(forget);
  });
  const value = await ask({
    title: t('token.title'),
    content,
    extra: [forget],
    confirm: t('token.use'),
    check: () => {
      const wrong = mistake(input.value.trim());
      return wrong === null ? null : t(wrong);
    },
    read: () => input.value.trim(),
  });
  // Only now: whoever is refused without it asks again, and must not be taken for one who waits for this answer.
  if (forgotten) {
    token.set(null);
    say(t('token.forgotten'));
  }
  if (value === null) return false;
  token.set(value);
  say(t('token.used'));
  return true;
}
