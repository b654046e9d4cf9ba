// The page's words, without a browser.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { LANGUAGES, brief, day, negotiate, speak, t } from '../js/text.js';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const html = read('index.html');
const names = readdirSync(new URL('../js', import.meta.url), { recursive: true }).filter((name) => name.endsWith('.js'));
const scripts = names.filter((name) => !name.startsWith('words')).map((name) => read(`js/${name}`));

test('every key that is asked for has words, and every word is asked for', () => {
  const keys = Object.keys(LANGUAGES.en.words).filter((key) => !key.endsWith('.one'));
  const all = scripts.join('') + html;
  const composed = [...all.matchAll(/t\(`([^`$]+)\$\{/g)].map(([, prefix]) => prefix);
  assert.deepEqual(keys.filter((key) => !all.includes(`'${key}'`) && !all.includes(`"${key}"`) && !composed.some((prefix) => key.startsWith(prefix))), []);
  const asked = [...all.matchAll(/data-t(?:-[a-z-]+)?="([^"]+)"|\bt\('([^']+)'/g)].map(([, one, other]) => one ?? other);
  assert.ok(asked.length > 60);
  assert.deepEqual(asked.filter((key) => !(key in LANGUAGES.en.words)), []);
});

for (const [code, { words }] of Object.entries(LANGUAGES)) {
  test(`${code}: the same keys, the same blanks, nothing empty`, () => {
    const english = LANGUAGES.en.words;
    assert.deepEqual(Object.keys(words), Object.keys(english));
    const blanks = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
    for (const [key, text] of Object.entries(words)) {
      assert.ok(text.trim() !== '', key);
      if (!key.endsWith('.one')) assert.deepEqual(blanks(text), blanks(english[key]), key);
    }
  });
}

test('nothing inline, nothing from elsewhere, no markup from text', () => {
  assert.doesNotMatch(html, /<style|style=|<script(?![^>]* src="\/chat\/)|\son[a-z]+=/);
  assert.doesNotMatch(html + read('chat.css') + read('thread.css'), /https?:\/\//);
  for (const script of scripts) assert.doesNotMatch(script, /innerHTML|outerHTML =|insertAdjacentHTML|document\.write|\beval\b/);
});

test('every element that a script looks for is in the page', () => {
  for (const script of scripts) {
    for (const [, id] of script.matchAll(/byId\('([^']+)'\)/g)) assert.ok(html.includes(`id="${id}"`), id);
  }
});

test('days and times as people say them', () => {
  const now = new Date(2026, 10, 21, 12).getTime();
  assert.deepEqual([0, 86_400_000].map((ago) => day(now - ago, now)), ['Today', 'Yesterday']);
  assert.match(day(now - 3 * 86_400_000, now), /Wednesday/);
  assert.match(brief(now, now), /12:00/);
  speak('zh');
  assert.equal(day(now, now), '今天');
  assert.equal(t('live.present', { count: 3 }), '3 人在场');
  speak('en');
  assert.equal(t('thread.members', { count: 1 }), '1 member');
  assert.deepEqual([['zh-Hans-CN'], ['fr', 'en-US'], []].map(negotiate), ['zh', 'en', 'en']);
});
