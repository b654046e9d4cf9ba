// How the page looks and is heard: both widths, both themes, both languages, by keyboard, for screen readers.
// CONSOLE_SHOTS=folder keeps screenshots of every view. AXE_CORE: the path of axe.min.js (scripts/test-console fetches it).

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { start } from './mock-server.mjs';
import { click, connect, freshMid, launchBrowser, open, overflow, row, says, set, skip, visit } from './support/page.mjs';

const VIEWS = ['overview', 'nodes', 'rooms', 'users/9', 'groups/42', 'push', 'client'];
const shots = process.env.CONSOLE_SHOTS;
const axe = process.env.AXE_CORE;
const LOOKS = [360, 1400].flatMap((width) =>
  ['light', 'dark'].flatMap((scheme) => ['en-US', 'zh-CN'].map((language) => ({ width, scheme, language }))),
);

let browser;
let mock;

before(async () => {
  if (skip) return;
  mock = await start();
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function shoot(page, { width, scheme, language }, name) {
  if (!shots) return;
  const height = await page.run(() => document.documentElement.scrollHeight);
  await page.look({ width, scheme, height: Math.max(600, height) });
  await wait(200);
  mkdirSync(shots, { recursive: true });
  writeFileSync(join(shots, `${name}-${width}-${scheme}-${language.slice(0, 2)}.png`), await page.screenshot());
  await page.look({ width, scheme, height: 900 });
}

// Something in every view: a session with frames, long words, an answer.
async function fill(page) {
  const user = freshMid();
  await connect(page, 'extended', user);
  await set(page, 'push-form', { kind: 'mids', target: user, body: `${'long'.repeat(100)} and {"with": ["some", "JSON"]}` });
  await click(page, '#push-send');
  await row(page, 'PUSH 1000', 'longlong');
  await set(page, 'push-form', { kind: 'room', target: `test://${user}`, body: '流星 ☄ hello' });
  await click(page, '#push-send');
  await row(page, 'PUSH 1000', '流星');
}

for (const look of LOOKS) {
  test(`${look.width} px, ${look.scheme}, ${look.language}: every view fits`, { skip }, async () => {
    const page = await open(browser, mock.url, { hash: '#/client', ...look });
    assert.equal(await page.run(() => document.documentElement.lang), look.language);
    await fill(page);
    if (shots) await wait(Number(process.env.CONSOLE_SHOT_MS ?? 3000));
    for (const view of VIEWS) {
      await visit(page, `#/${view}`);
      await page.until(view, (name) => !document.getElementById(`view-${name}`).hidden, view.split('/')[0]);
      if (view === 'users/9') await says(page, '#inbox-messages', 'see you at 1340');
      if (view === 'groups/42') await says(page, '#groups-messages', 'line 30');
      if (view === 'rooms' || view === 'nodes') await page.until('rows', (name) => document.querySelector(`#view-${name} tbody tr`), view);
      await shoot(page, look, view.split('/')[0]);
      assert.deepEqual(await overflow(page), { excess: 0, over: [] }, view);
    }
    await visit(page, '#/nodes');
    await click(page, '#view-nodes button');
    await page.until('a dialog', () => document.querySelector('dialog[open]'));
    await shoot(page, look, 'dialog');
    assert.deepEqual(await overflow(page), { excess: 0, over: [] }, 'dialog');
    assert.deepEqual(page.problems, []);
    await page.close();
  });
}

test('language and theme are chosen, hold at once, and are remembered', { skip }, async () => {
  const page = await open(browser, mock.url, { language: 'zh-CN', scheme: 'dark' });
  await says(page, '#nav', '概览');
  const back = () => page.run(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await back();
  const choose = (id, value) =>
    page.run((name, wanted) => {
      const field = document.getElementById(name);
      field.value = wanted;
      field.dispatchEvent(new Event('change', { bubbles: true }));
    }, id, value);
  await choose('language', 'en');
  await choose('theme', 'light');
  await says(page, '#nav', 'Overview');
  await says(page, '.tile dt', 'Sessions');
  const light = await back();
  assert.notEqual(light, dark);
  await page.goto(mock.url);
  await says(page, '#nav', 'Overview');
  assert.equal(await page.run(() => document.title), 'Overview · Perseid console');
  assert.equal(await back(), light);
  await choose('theme', 'auto');
  assert.equal(await back(), dark);
});

test('no word is written into the page: in another language all of it is in that language', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/client' });
  await fill(page);
  await page.run(async () => {
    const text = await import('/console/text.js');
    const words = Object.entries(text.LANGUAGES.en.words).map(([key, said]) => [key, `⟦${said}⟧`]);
    text.speak('en', Object.fromEntries(words));
    text.fill(document);
  });
  for (const view of [...VIEWS, 'users/8', 'users/7,8', 'groups', 'groups/77', 'groups/1']) {
    await visit(page, `#/${view}`);
    await wait(300);
    const strange = await page.run(() => {
      const found = [];
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const box = node.parentElement;
        const said = node.textContent.trim();
        // Data is marked as such; frames are data as a whole.
        if (!/\p{L}{2}/u.test(said) || /^⟦[^]*⟧$/.test(said)) continue;
        if (box.closest('[translate=no], [hidden], noscript, textarea, #frames, .note, .value') || !box.checkVisibility()) continue;
        found.push(said);
      }
      for (const node of document.querySelectorAll('[aria-label], [title], [placeholder]')) {
        for (const name of ['aria-label', 'title', 'placeholder']) {
          const said = node.getAttribute(name) ?? '';
          if (/\p{L}{2}/u.test(said) && !said.includes('⟦') && node.checkVisibility() && !node.closest('.note')) found.push(`${name}: ${said}`);
        }
      }
      return found;
    });
    assert.deepEqual(strange, [], view);
  }
  assert.equal(await page.run(() => document.title.includes('⟦')), true);
});

test('works by keyboard alone', { skip }, async () => {
  const page = await open(browser, mock.url);
  const here = () => page.run(() => document.activeElement.id || document.activeElement.textContent.trim());
  await page.key('Tab');
  assert.equal(await here(), 'skip');
  await page.key('Enter');
  assert.equal(await here(), 'Overview', 'the skip link leads to the heading');
  await page.key('Tab', 'Tab', 8);
  assert.equal(await here(), 'token', 'back through the header');
  const walk = [];
  for (let step = 0; step < 10; step += 1) {
    walk.unshift(await here());
    await page.key('Tab', 'Tab', 8);
  }
  assert.deepEqual(walk, ['Overview', 'Nodes', 'Rooms', 'Users', 'Groups', 'Push', 'Client', 'language', 'theme', 'token']);
  await page.run(() => document.querySelector('#nav a[href="#/users"]').focus());
  await page.key('Enter');
  await page.until('the heading of the view', () => document.activeElement.tagName === 'H1' && document.activeElement.textContent === 'Users');
  await page.key('Tab');
  await page.type('9');
  await page.key('Enter');
  await says(page, '#users-tables', 'iPhone 15');
  const ring = await page.run(() => {
    document.getElementById('users-all').focus();
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
    return `${outlineStyle} ${outlineWidth}`;
  });
  assert.equal(ring, 'solid 2px', 'the focus is seen');
});

test('live values do not chatter, and nothing moves when they change', { skip }, async () => {
  const page = await open(browser, mock.url);
  const regions = await page.run(() => [...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].filter((node) => node.closest('#tiles, table, .facts')).length);
  assert.equal(regions, 0, 'numbers are not announced');
  await wait(1500);
  const places = () => page.run(() => [...document.querySelectorAll('.tile, figure, .plot, #nav a, h1')].map((node) => { const { x, y, width, height } = node.getBoundingClientRect(); return [x, y, width, height].map(Math.round).join(); }).join(' '));
  const before = await places();
  await wait(3200);
  assert.equal(await places(), before);
});

const noAxe = axe && existsSync(axe) ? false : 'no axe-core: scripts/test-console fetches it';
for (const scheme of ['light', 'dark']) {
  test(`axe finds nothing, ${scheme}`, { skip: skip || noAxe }, async () => {
    const page = await open(browser, mock.url, { hash: '#/client', scheme });
    await fill(page);
    await page.send('Runtime.evaluate', { expression: readFileSync(axe, 'utf8') });
    const check = () =>
      page.run(async () => {
        const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
      });
    for (const view of VIEWS) {
      await visit(page, `#/${view}`);
      await wait(400);
      assert.deepEqual(await check(), [], view);
    }
    await visit(page, '#/nodes');
    await click(page, '#view-nodes button');
    await page.until('a dialog', () => document.querySelector('dialog[open]'));
    assert.deepEqual(await check(), [], 'dialog');
  });
}
