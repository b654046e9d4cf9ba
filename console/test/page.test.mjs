// The page in a browser. Against the mock, or with CONSOLE_URL against a real node (started with auth = "insecure").
// CONSOLE_SHOTS=folder keeps screenshots.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { start } from './mock-server.mjs';
import { findChromium, launch } from './support/cdp.mjs';

const chromium = findChromium();
const skip = chromium === null ? 'no chromium: install the package chromium, or set CHROMIUM to its path' : false;
const real = process.env.CONSOLE_URL;
const shots = process.env.CONSOLE_SHOTS;
const LOOKS = [360, 1400].flatMap((width) => ['light', 'dark'].map((scheme) => ({ width, height: 900, scheme })));

let browser;
let mock = null;
let url;

before(async () => {
  if (skip) return;
  if (!real) mock = await start();
  url = real ?? mock.url;
  browser = await launch(chromium);
});

after(async () => {
  await browser?.close();
  mock?.close();
});

async function open() {
  const page = await browser.page();
  await page.look({ width: 1400, height: 900, scheme: 'light' });
  await page.goto(url);
  await page.until('numbers', () => document.getElementById('node-name').textContent !== '–');
  return page;
}

/** Fills the fields of a form, as a user's input would. */
function set(page, form, values) {
  return page.run(
    (id, fields) => {
      for (const [name, value] of Object.entries(fields)) {
        const field = document.getElementById(id).elements[name];
        field.value = value;
        const target = field instanceof RadioNodeList ? [...field].find((radio) => radio.checked) : field;
        target.dispatchEvent(new Event('input', { bubbles: true }));
        target.dispatchEvent(new Event('change', { bubbles: true }));
      }
    },
    form,
    values,
  );
}

const click = (page, id) => page.run((name) => document.getElementById(name).click(), id);
const clickIn = (page, form, value) =>
  page.run((id, wanted) => document.querySelector(`#${id} button${wanted ? `[value=${wanted}]` : ''}`).click(), form, value);
const row = (page, what, ...words) =>
  page.until(`a row with ${what}`, (...wanted) => [...document.querySelectorAll('#frames .row')].map((node) => node.textContent).find((text) => wanted.every((word) => text.includes(word))), ...words);

// Other people's sessions may be on a real node: this one is told apart by its user.
const mid = () => String(1_000_000 + Math.floor(Math.random() * 1e9));

async function connect(page, mode, user) {
  await set(page, 'client-form', { mode, mid: user, room: `test://${user}` });
  await click(page, 'client-connect');
  await page.until('a live session', () => document.getElementById('client-state').textContent === 'Connected');
}

for (const mode of ['classic', 'extended']) {
  test(`a ${mode} session: push from the form, shown decoded`, { skip }, async () => {
    const page = await open();
    const user = mid();
    await connect(page, mode, user);
    await row(page, 'the answer to AUTH', 'AUTH_REPLY');
    await page.until('people online', () => document.getElementById('fact-online').textContent === '1');

    await set(page, 'push-form', { kind: 'mids', target: user, op: '1000', body: 'grüße 流星 ☄' });
    await click(page, 'push-send');
    await page.until('the answer', () => /^Accepted as \d+/.test(document.getElementById('push-answer').textContent));
    await row(page, 'the push to the user', 'PUSH 1000', 'grüße 流星 ☄');

    await set(page, 'push-form', { kind: 'room', target: `test://${user}`, op: '1007', body: '{"to":"room"}' });
    await click(page, 'push-send');
    await row(page, 'the push to the room', 'PUSH 1007', '{"to":"room"}');
    if (mode === 'extended') await row(page, 'its kind', 'PUSH 1007', 'kind room');
    else await row(page, 'the batch around it', 'RAW 9');

    const hex = await page.run(() => {
      const last = [...document.querySelectorAll('#frames details')].findLast((node) => node.textContent.includes('1007'));
      last.querySelector('summary').click();
      return new Promise((resolve) => setTimeout(() => resolve(last.querySelector('.hex').textContent), 50));
    });
    assert.match(hex, /7b 22 74 6f 22/, 'the body shows up in the hex view');

    await clickIn(page, 'operations-form', 'sub');
    await page.until('1003 accepted', () => document.getElementById('fact-accepts').textContent.includes('1003'));
    await clickIn(page, 'operations-form', 'unsub');
    await page.until('1003 gone', () => !document.getElementById('fact-accepts').textContent.includes('1003'));

    await set(page, 'room-form', { room: `other://${user}` });
    await clickIn(page, 'room-form');
    await page.until('the other room', (room) => document.getElementById('fact-room').textContent === room, `other://${user}`);

    const op = mode === 'classic' ? '4' : '1234';
    await set(page, 'upstream-form', { op, message: 'up' });
    await clickIn(page, 'upstream-form');
    await page.until('the echo of upstream', (sent) => [...document.querySelectorAll('#frames .row.in .op')].some((node) => node.textContent.endsWith(` ${sent}`)), op);

    await click(page, 'client-connect');
    await page.until('the end', () => document.getElementById('client-state').textContent === 'Closed');
    assert.deepEqual(page.problems, []);
  });
}

test('a refused push is told with its reason', { skip }, async () => {
  const page = await open();
  await set(page, 'push-form', { kind: 'room', target: 'no room' });
  await click(page, 'push-send');
  await page.until('the advice', () => document.getElementById('push-answer').textContent.includes('live://1000'));
  const command = await page.run(() => document.getElementById('push-curl').textContent);
  assert.match(command, /^# /, 'no command for what cannot be sent');
  await set(page, 'push-form', { target: 'live://1000', body: "it's" });
  const quoted = await page.run(() => document.getElementById('push-curl').textContent);
  assert.ok(quoted.includes(`"body":"it'\\''s"`), quoted);
  assert.deepEqual(page.problems, []);
});

test('pause holds the list, 500 rows bound it', { skip: skip || (real && 'needs the mock') }, async () => {
  const page = await open();
  await connect(page, 'classic', mid());
  await click(page, 'frames-pause');
  await fetch(`${url}/mock/burst`);
  await page.until('frames counted while paused', () => /\([\d]{4} new\)/.test(document.getElementById('frames-pause').textContent));
  await click(page, 'frames-pause');
  const rows = await page.until('rows', () => document.querySelectorAll('#frames .row').length >= 500 && document.querySelectorAll('#frames .row').length);
  assert.equal(rows, 500);
  assert.match(await page.run(() => document.getElementById('frames').lastElementChild.textContent), /burst 1999/);
});

test('ends are told by name; a lost node is told and found again', { skip: skip || (real && 'needs the mock') }, async () => {
  const page = await open();
  await connect(page, 'extended', mid());
  await fetch(`${url}/mock/kick`);
  const end = await page.until('the end', () => document.getElementById('client-end').textContent);
  assert.equal(end, '4503 KICKED · an operator ended this session · should not come back unless something changes');
  await fetch(`${url}/mock/fail`);
  await page.until('the alert', () => document.getElementById('alert').textContent.includes('No answer'));
  await fetch(`${url}/mock/fail`);
  await page.until('no alert', () => document.getElementById('alert').hidden);
});

test('works by keyboard alone', { skip }, async () => {
  const page = await open();
  await page.key('Tab');
  assert.equal(await page.run(() => document.activeElement.className), 'skip');
  await page.key('Enter');
  // In the order of the page: address, protocol, user, room, accepts, more, connect.
  for (let step = 0; step < 7; step += 1) await page.key('Tab');
  assert.equal(await page.run(() => document.activeElement.id), 'client-connect');
  await page.key('Enter');
  await page.until('a live session', () => document.getElementById('client-state').textContent === 'Connected');
  assert.equal(await page.run(() => document.activeElement.id), 'client-connect', 'the focus stays');
  const unnamed = await page.run(() => {
    const named = (node) => node.labels?.length || node.textContent.trim() || node.getAttribute('aria-label');
    return [...document.querySelectorAll('button, input, select, textarea')].filter((node) => !named(node)).map((node) => node.outerHTML);
  });
  assert.deepEqual(unnamed, []);
});

for (const look of LOOKS) {
  test(`no horizontal overflow at ${look.width} px, ${look.scheme}`, { skip }, async () => {
    const page = await browser.page();
    await page.look(look);
    await page.goto(url);
    await page.until('numbers', () => document.getElementById('node-name').textContent !== '–');
    await connect(page, look.scheme === 'dark' ? 'extended' : 'classic', mid());
    const user = await page.run(() => document.getElementById('client-form').elements.mid.value);
    await set(page, 'push-form', { target: user, body: `${'long'.repeat(200)} and {"with": ["some", "JSON"]}` });
    await click(page, 'push-send');
    await row(page, 'the long push', 'PUSH 1000', 'longlong');
    await set(page, 'push-form', { target: user, body: 'hello' });
    await click(page, 'push-send');
    await row(page, 'the short push', 'PUSH 1000', 'hello');
    if (shots) {
      await new Promise((resolve) => setTimeout(resolve, Number(process.env.CONSOLE_SHOT_MS ?? 3000)));
      await page.run(() => document.querySelector('#frames .row:last-child summary')?.click());
      await new Promise((resolve) => setTimeout(resolve, 300));
      await page.look({ ...look, height: await page.run(() => document.documentElement.scrollHeight) });
      mkdirSync(shots, { recursive: true });
      writeFileSync(join(shots, `${look.width}-${look.scheme}.png`), await page.screenshot());
    }
    const wide = await page.run(() => {
      const { clientWidth, scrollWidth } = document.documentElement;
      const over = [...document.querySelectorAll('body *')].filter((node) => node.getBoundingClientRect().right > clientWidth + 0.5 && !node.closest('pre, .skip, .hidden-text'));
      return { excess: scrollWidth - clientWidth, over: over.map((node) => node.outerHTML.slice(0, 80)) };
    });
    assert.deepEqual(wide, { excess: 0, over: [] });
    assert.deepEqual(page.problems, []);
  });
}
