// Which words the page says: a table for each language, all with the same keys.

import { count, setLocale } from './format.js';
import { EN } from './words/en.js';
import { EN_CLIENT } from './words/en-client.js';
import { EN_STORED } from './words/en-stored.js';
import { ZH } from './words/zh.js';
import { ZH_CLIENT } from './words/zh-client.js';
import { ZH_STORED } from './words/zh-stored.js';

/** Languages by code: what they call themselves, the locale of their numbers, their words. */
export const LANGUAGES = {
  en: { name: 'English', locale: 'en-US', words: { ...EN, ...EN_CLIENT, ...EN_STORED } },
  zh: { name: '中文', locale: 'zh-CN', words: { ...ZH, ...ZH_CLIENT, ...ZH_STORED } },
};

let code = 'en';
let words = LANGUAGES.en.words;
let plural = new Intl.PluralRules(LANGUAGES.en.locale);
const listeners = new Set();

/** The first of these language tags (`zh-Hans-CN`) that we speak, else English. */
export function negotiate(tags) {
  for (const tag of tags) {
    const base = String(tag).toLowerCase().split(/[-_]/)[0];
    if (base in LANGUAGES) return base;
  }
  return 'en';
}

/** Speaks this language from now on, and tells all who listen. */
export function speak(name, own = LANGUAGES[name].words) {
  code = name;
  words = own;
  const { locale } = LANGUAGES[name];
  plural = new Intl.PluralRules(locale);
  setLocale(locale);
  for (const listener of listeners) listener();
}

/** The code of the language that is spoken. */
export function language() {
  return code;
}

/** `listener()` after each change of language. */
export function onLanguage(listener) {
  listeners.add(listener);
}

/** The words of `key`, with `{name}` filled in. A `count` chooses the form: `key.one` for one, where there is one. */
export function t(key, values = {}) {
  const single = typeof values.count === 'number' && plural.select(values.count) === 'one' && `${key}.one` in words;
  const said = words[single ? `${key}.one` : key];
  if (said === undefined) throw new Error(`no words for ${key}`);
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? say(name, values[name]) : whole));
}

// Codes and sizes come as they should be read; a count is written in the language's way.
const say = (name, value) => (name === 'count' && typeof value === 'number' ? count(value) : String(value));

/** True if there are words for `key`. */
export function has(key) {
  return key in words;
}

const ATTRIBUTES = ['placeholder', 'aria-label', 'title'];

/** Fills every element that says which words it wants: `data-t` its text, `data-t-…` an attribute. */
export function fill(root) {
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const attribute of ATTRIBUTES) {
    for (const node of root.querySelectorAll(`[data-t-${attribute}]`)) {
      node.setAttribute(attribute, t(node.getAttribute(`data-t-${attribute}`)));
    }
  }
}
