// Which words the page says: a table for each language, all with the same keys.

import { EN } from './words/en.js';
import { ZH } from './words/zh.js';

/** Languages by code: what they call themselves, the locale of their times, their words. */
export const LANGUAGES = {
  en: { name: 'English', locale: 'en-GB', words: EN },
  zh: { name: '中文', locale: 'zh-CN', words: ZH },
};

let code = 'en';
let formats = makeFormats(LANGUAGES.en.locale);

function makeFormats(locale) {
  return {
    time: new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }),
    day: new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' }),
    date: new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' }),
    list: new Intl.ListFormat(locale, { type: 'conjunction' }),
  };
}

/** The first of these language tags that we speak, else English. */
export function negotiate(tags) {
  const bases = tags.map((tag) => String(tag).toLowerCase().split(/[-_]/)[0]);
  return bases.find((base) => base in LANGUAGES) ?? 'en';
}

/** Speaks this language from now on. */
export function speak(name) {
  code = name;
  formats = makeFormats(LANGUAGES[name].locale);
}

export function language() {
  return code;
}

/** The words of `key`, with `{name}` filled in; `key.one` for a `count` of one, where there is one. */
export function t(key, values = {}) {
  const { words } = LANGUAGES[code];
  const single = values.count === 1 && `${key}.one` in words;
  const said = words[single ? `${key}.one` : key];
  if (said === undefined) throw new Error(`no words for ${key}`);
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Fills every element that says which words it wants: `data-t` its text, `data-t-…` an attribute. */
export function fill(root) {
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const attribute of ['placeholder', 'aria-label', 'title']) {
    for (const node of root.querySelectorAll(`[data-t-${attribute}]`)) node.setAttribute(attribute, t(node.getAttribute(`data-t-${attribute}`)));
  }
}

export const clock = (ms) => formats.time.format(ms);
export const listed = (names) => formats.list.format(names);

/** A day as people say it. */
export function day(ms, now = Date.now()) {
  const days = daysBetween(ms, now);
  return days === 0 ? t('day.today') : days === 1 ? t('day.yesterday') : formats.day.format(ms);
}

/** The time of day, or the day. */
export function brief(ms, now = Date.now()) {
  return daysBetween(ms, now) === 0 ? clock(ms) : formats.date.format(ms);
}

function daysBetween(ms, now) {
  const midnight = (at) => new Date(at).setHours(0, 0, 0, 0);
  return Math.round((midnight(now) - midnight(ms)) / 86_400_000);
}
