// The door: a name, or one that was here before.

import { byId, avatar, el } from '../dom.js';
import { freshMid, hold, ofWindow, people, remember, setWindow, tidy } from '../identity.js';
import { t } from '../text.js';

const ANEW_MS = 1_500;

/** Resolves with who came in: `{mid, name}`. A window that was loaded anew, or the first one, goes on as it was. */
export async function enter() {
  const known = people(localStorage);
  const before = ofWindow(sessionStorage);
  // Who asked for another name gets the door, whoever was here before.
  const wanted = sessionStorage.getItem('perseid.chat.door') !== null;
  sessionStorage.removeItem('perseid.chat.door');
  if (wanted) return ask(known);
  const last = known.find(({ mid }) => mid === before) ?? (before === null ? known[0] : undefined);
  if (last !== undefined && (await hold(last.mid, { waitMs: last.mid === before ? ANEW_MS : 0 })) !== null) return take(last);
  return ask(known);
}

function take(person) {
  remember(localStorage, person);
  setWindow(sessionStorage, person.mid);
  return person;
}

function ask(known) {
  byId('door').hidden = false;
  byId('door-name').focus();
  return new Promise((resolve) => {
    const come = async (person) => {
      if ((await hold(person.mid)) === null) return say(t('door.busy', { name: person.name }));
      byId('door').hidden = true;
      resolve(take(person));
    };
    byId('door-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = tidy(byId('door-name').value);
      if (name !== '') come({ mid: freshMid(), name });
    });
    byId('door-known').hidden = known.length === 0;
    const buttons = known.slice(0, 6).map((person) => {
      const button = el('button', { type: 'button', className: 'chip', translate: false }, avatar(person.mid, person.name, { small: true }), person.name);
      button.addEventListener('click', () => come(person));
      return button;
    });
    byId('door-people').replaceChildren(...buttons);
  });
}

/** Says what is wrong. */
export function say(words) {
  byId('door').hidden = false;
  byId('door-problem').textContent = words;
}
