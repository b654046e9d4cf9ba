// The page at /docs, as the program serves it: on a narrow screen nothing sticks out, whatever is open.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { noNode, startNode } from './support/node.mjs';
import { launchBrowser, skip as noBrowser } from './support/page.mjs';

const skip = noBrowser || noNode;
const WIDTH = 360;

let browser;
let node;

before(async () => {
  if (skip) return;
  [browser, node] = await Promise.all([launchBrowser(), startNode()]);
});

after(async () => {
  await browser?.close();
  await node?.close();
});

test('no operation, open and called, scrolls sideways', { skip }, async () => {
  const page = await browser.page();
  await page.look({ width: WIDTH, height: 900, scheme: 'light' });
  await page.goto(`${node.url}/docs/`);
  await page.until('operations', () => document.querySelectorAll('.opblock-summary-control').length > 10);
  const count = await page.run(() => document.querySelectorAll('.opblock').length);
  for (let at = 0; at < count; at++) {
    await page.run((index) => document.querySelectorAll('.opblock')[index].querySelector('.opblock-summary-control').click(), at);
    await page.until('its answers', (index) => document.querySelectorAll('.opblock')[index].querySelector('.responses-table') !== null, at);
  }
  const wide = () => page.run(() => document.documentElement.scrollWidth);
  assert.equal(await wide(), WIDTH, 'open');
  await page.run(() => document.querySelector('#operations-process-getLogLevel .execute').click());
  await page.until('an answer', () => Boolean(document.querySelector('.live-responses-table code')));
  assert.equal(await wide(), WIDTH, 'called');
  await page.close();
});
