// Language and theme: chosen in the header, remembered in this browser.

import { byId, el } from './dom.js';
import { fill, LANGUAGES, negotiate, speak } from './text.js';

const LANGUAGE = 'perseid.language';
const THEME = 'perseid.theme';
const THEMES = ['auto', 'light', 'dark'];

/** What is stored under `key`, or null; also where storage is forbidden. */
function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // It holds until the page is left.
  }
}

/** The language to begin with: the one chosen before, else the browser's. */
export function firstLanguage(stored, tags) {
  return stored !== null && stored in LANGUAGES ? stored : negotiate(tags);
}

function use(language) {
  document.documentElement.lang = LANGUAGES[language].locale;
  speak(language);
  fill(document);
}

function paint(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Wires the two fields of the header, and speaks the first language. */
export function startSettings() {
  const language = byId('language');
  for (const [code, { name, locale }] of Object.entries(LANGUAGES)) {
    language.append(el('option', { value: code, lang: locale, translate: false }, name));
  }
  const first = firstLanguage(recall(LANGUAGE), navigator.languages ?? [navigator.language]);
  language.value = first;
  use(first);
  language.addEventListener('change', () => {
    remember(LANGUAGE, language.value);
    use(language.value);
  });

  const theme = byId('theme');
  const stored = recall(THEME);
  theme.value = THEMES.includes(stored) ? stored : 'auto';
  theme.addEventListener('change', () => {
    remember(THEME, theme.value === 'auto' ? null : theme.value);
    paint(theme.value);
  });
}
