// The page's words and colours, without a browser.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { has, t } from '../js/text.js';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const html = read('index.html');
const scripts = readdirSync(new URL('../js', import.meta.url)).map((name) => read(`js/${name}`));
const css = read('console.css');

test('every key that the page asks for has words', () => {
  const asked = [...html.matchAll(/data-t(?:-[a-z-]+)?="([^"]+)"/g)].map(([, key]) => key);
  for (const script of scripts) asked.push(...[...script.matchAll(/\bt\('([^']+)'/g)].map(([, key]) => key));
  assert.ok(asked.length > 80);
  assert.deepEqual(asked.filter((key) => !has(key)), []);
});

test('every key is asked for', () => {
  const text = read('js/text.js');
  const keys = [...text.matchAll(/^ {2}'([a-z]+\.[A-Za-z.]+)':/gm)].map(([, key]) => key);
  const others = scripts.filter((script) => script !== text).join('') + html;
  // Some keys are put together: `tile.${name}`.
  const composed = [...others.matchAll(/t\(`([^`$]+)\$\{/g)].map(([, prefix]) => prefix);
  const used = (key) => others.includes(`'${key}'`) || others.includes(`"${key}"`) || composed.some((prefix) => key.startsWith(prefix));
  assert.deepEqual(keys.filter((key) => !used(key)), []);
});

test('words are filled in; a value that looks like a blank stays as it is', () => {
  assert.equal(t('push.accepted', { id: '{id}' }), 'Accepted as {id}');
  assert.throws(() => t('no.such'));
});

test('nothing inline, nothing from elsewhere, no markup from text', () => {
  assert.doesNotMatch(html, /<style|style=|<script(?![^>]* src=)|\son[a-z]+=/);
  assert.doesNotMatch(html + css, /https?:\/\//);
  for (const script of scripts) assert.doesNotMatch(script, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

test('every element that a script looks for is in the page', () => {
  for (const script of scripts) {
    for (const [, id] of script.matchAll(/byId\('([^']+)'\)/g)) assert.ok(html.includes(`id="${id}"`), id);
  }
});

const TEXT = ['text', 'quiet', 'accent', 'bad', 'good', 'warn', 'out'];
const PAIRS = [
  ...['panel', 'sunk'].flatMap((back) => TEXT.map((front) => [front, back, 4.5])),
  ['on-accent', 'accent', 4.5],
  ['good', 'good-back', 4.5],
  ['warn', 'warn-back', 4.5],
  ['bad', 'bad-back', 4.5],
  ['text', 'page', 4.5],
  // Borders of controls, lines of plots.
  ['edge', 'panel', 3],
  ['edge', 'sunk', 3],
  ...['s1', 's2', 's3', 's4', 's5'].map((front) => [front, 'panel', 3]),
];

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

for (const [index, scheme] of ['light', 'dark'].entries()) {
  test(`contrast, ${scheme}`, () => {
    const block = css.split(':root {')[index + 1].split('}')[0];
    const colours = Object.fromEntries([...block.matchAll(/--([a-z0-9-]+): (#[0-9a-f]{6})/g)].map(([, name, colour]) => [name, colour]));
    for (const [front, back, least] of PAIRS) {
      const [low, high] = [luminance(colours[front]), luminance(colours[back])].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      assert.ok(contrast >= least, `${front} on ${back}: ${contrast.toFixed(2)}`);
    }
  });
}
