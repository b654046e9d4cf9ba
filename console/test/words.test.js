// The page's words, without a browser.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { has, LANGUAGES, speak, t } from '../js/text.js';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const html = read('index.html');
const names = readdirSync(new URL('../js', import.meta.url), { recursive: true }).filter((name) => name.endsWith('.js'));
const scripts = names.map((name) => read(`js/${name}`));
const css = read('console.css') + read('views.css');

test('every key that the page asks for has words', () => {
  const asked = [...html.matchAll(/data-t(?:-[a-z-]+)?="([^"]+)"/g)].map(([, key]) => key);
  for (const script of scripts) asked.push(...[...script.matchAll(/\bt\('([^']+)'/g)].map(([, key]) => key));
  assert.ok(asked.length > 80);
  assert.deepEqual(asked.filter((key) => !has(key)), []);
});

test('every key is asked for', () => {
  const others = names.filter((name) => !name.startsWith('words/')).map((name) => read(`js/${name}`)).join('') + html;
  // Some keys are put together: `tile.${name}`.
  const composed = [...others.matchAll(/(?:t\(|t: |title: )`([^`$]+)\$\{/g)].map(([, prefix]) => prefix);
  const used = (key) => others.includes(`'${key}'`) || others.includes(`"${key}"`) || composed.some((prefix) => key.startsWith(prefix));
  const keys = Object.keys(LANGUAGES.en.words).filter((key) => !key.endsWith('.one'));
  assert.deepEqual(keys.filter((key) => !used(key)), []);
});

for (const [code, { words }] of Object.entries(LANGUAGES)) {
  test(`${code}: the same keys, the same blanks, nothing empty`, () => {
    const english = LANGUAGES.en.words;
    assert.deepEqual(Object.keys(words), Object.keys(english), 'the same keys in the same order');
    const blanks = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
    for (const [key, text] of Object.entries(words)) {
      assert.ok(text.trim() !== '', key);
      // English may say “its one session”; other languages count.
      if (!key.endsWith('.one')) assert.deepEqual(blanks(text), blanks(english[key]), key);
    }
  });
}

test('Chinese is Chinese, with its own punctuation', () => {
  // Names that are the same in both.
  const same = /^(TCP|WebSocket|HTTP|CPU|[\s·{}↑↓A-Za-z]*)$/;
  for (const [key, text] of Object.entries(LANGUAGES.zh.words)) {
    if (same.test(text)) continue;
    assert.match(text, /\p{Script=Han}/u, key);
    assert.doesNotMatch(text, /\p{Script=Han}[,.;!?:]|[,.;!?:]\p{Script=Han}/u, `${key}: ${text}`);
    assert.doesNotMatch(text, /\p{Script=Han}[A-Za-z]|[A-Za-z]\p{Script=Han}/u, `${key}: a space between scripts: ${text}`);
  }
});

test('words are filled in; a value that looks like a blank stays as it is', () => {
  assert.equal(t('push.accepted', { id: '{id}' }), 'Accepted as {id}');
  assert.throws(() => t('no.such'));
  assert.equal(t('users.count', { count: 1 }), '1 session');
  assert.equal(t('users.count', { count: 1200 }), '1,200 sessions');
  speak('zh');
  assert.equal(t('users.count', { count: 1 }), '1 个会话');
  speak('en');
});

test('nothing inline, nothing from elsewhere, no markup from text', () => {
  assert.doesNotMatch(html, /<style|style=|<script(?![^>]* src="\/console\/)|\son[a-z]+=/);
  assert.doesNotMatch(html + css, /https?:\/\//);
  for (const script of scripts) assert.doesNotMatch(script, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

test('every element that a script looks for is in the page', () => {
  for (const script of scripts) {
    for (const [, id] of script.matchAll(/byId\('([^']+)'\)/g)) assert.ok(html.includes(`id="${id}"`), id);
  }
});

test('the page itself has no words: they all come from the tables', () => {
  const body = html.slice(html.indexOf('<body>')).replace(/<noscript>.*<\/noscript>/, '');
  const texts = [...body.matchAll(/<([a-z0-9]+)([^>]*)>([^<]*\p{L}[^<]*)</gu)];
  // Names of the protocol and of the product, and defaults of fields.
  const fine = texts.filter(([, tag, attributes]) => attributes.includes('translate="no"') || tag === 'textarea');
  const rest = texts.filter((text) => !fine.includes(text)).map(([, , , text]) => text.trim());
  assert.deepEqual(rest, ['direct', 'group', 'channel']);
  assert.doesNotMatch(body, / (aria-label|title|placeholder|alt)="[^"]*\p{L}/u);
});
