// The page's colours: every pair that is used has the contrast of WCAG 2.2 AA.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const css = readFileSync(new URL('../console.css', import.meta.url), 'utf8');

const TEXT = ['text', 'quiet', 'accent', 'bad', 'good', 'warn', 'out'];
const PAIRS = [
  ...['panel', 'sunk'].flatMap((back) => TEXT.map((front) => [front, back, 4.5])),
  ['on-accent', 'accent', 4.5],
  ['good', 'good-back', 4.5],
  ['warn', 'warn-back', 4.5],
  ['bad', 'bad-back', 4.5],
  ['on-bad', 'bad', 4.5],
  ['text', 'page', 4.5],
  // Borders of controls, lines of plots.
  ['edge', 'panel', 3],
  ['edge', 'sunk', 3],
  ...['s1', 's2', 's3', 's4', 's5', 's6'].map((front) => [front, 'panel', 3]),
];

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

const pairs = [...css.matchAll(/--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)];

for (const [index, scheme] of ['light', 'dark'].entries()) {
  test(`contrast, ${scheme}`, () => {
    const colours = Object.fromEntries(pairs.map(([, name, ...both]) => [name, both[index]]));
    for (const [front, back, least] of PAIRS) {
      const [low, high] = [luminance(colours[front]), luminance(colours[back])].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      assert.ok(contrast >= least, `${front} on ${back}: ${contrast.toFixed(2)}`);
    }
  });
}
