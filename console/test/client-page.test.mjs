// The test client and the push form in a browser. Against the mock, or with CONSOLE_URL against a real node (started with
// auth = "insecure").

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { start } from './mock-server.mjs';
import { click, connect, freshMid, launchBrowser, open, row, says, set, skip } from './support/page.mjs';

const real = process.env.CONSOLE_URL;

let browser;
let mock = null;
let url;

before(async () => {
  if (skip) return;
  if (!real) mock = await start();
  url = real ?? mock.url;
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

const clickIn = (page, form, value) => click(page, `#${form} button${value ? `[value=${value}]` : ''}`);

for (const mode of ['classic', 'extended']) {
  test(`a ${mode} session: push from the form, shown decoded`, { skip }, async () => {
    const page = await open(browser, url, { hash: '#/client' });
    const user = freshMid();
    await connect(page, mode, user);
    await row(page, 'AUTH_REPLY');
    await page.until('people online', () => document.getElementById('fact-online').textContent === '1');

    await set(page, 'push-form', { kind: 'mids', target: user, op: '1000', body: 'grüße 流星 ☄' });
    await click(page, '#push-send');
    await says(page, '#push-notice', 'Accepted as ');
    await row(page, 'PUSH 1000', 'grüße 流星 ☄');

    await set(page, 'push-form', { kind: 'room', target: `test://${user}`, op: '1007', body: '{"to":"room"}' });
    await click(page, '#push-send');
    await row(page, 'PUSH 1007', '{"to":"room"}');
    if (mode === 'extended') await row(page, 'PUSH 1007', 'kind room');
    else await row(page, 'RAW 9');

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

    await click(page, '#client-connect');
    await page.until('the end', () => document.getElementById('client-state').textContent === 'Closed');
    assert.deepEqual(page.problems, []);
  });
}

test('a refused push is told with its reason', { skip }, async () => {
  const page = await open(browser, url, { hash: '#/client' });
  await set(page, 'push-form', { kind: 'room', target: 'no room' });
  await click(page, '#push-send');
  await says(page, '#push-notice', 'live://1000');
  assert.equal(await page.run(() => document.activeElement.name), 'target', 'the focus is on what is wrong');
  const command = await page.run(() => document.getElementById('push-curl').textContent);
  assert.match(command, /^# /, 'no command for what cannot be sent');
  await set(page, 'push-form', { target: 'live://1000', body: "it's" });
  const quoted = await page.run(() => document.getElementById('push-curl').textContent);
  assert.ok(quoted.includes(`"body":"it'\\''s"`), quoted);
  assert.deepEqual(page.problems, []);
});

test('pause holds the list, 500 rows bound it', { skip: skip || (real && 'needs the mock') }, async () => {
  const page = await open(browser, url, { hash: '#/client' });
  await connect(page, 'classic', freshMid());
  await click(page, '#frames-pause');
  await fetch(`${url}/mock/burst`);
  await page.until('frames counted while paused', () => /\([\d,]{5} new\)/.test(document.getElementById('frames-pause').textContent));
  await click(page, '#frames-pause');
  const rows = await page.until('rows', () => document.querySelectorAll('#frames .row').length >= 500 && document.querySelectorAll('#frames .row').length);
  assert.equal(rows, 500);
  assert.match(await page.run(() => document.getElementById('frames').lastElementChild.textContent), /burst 1999/);
});

test('ends are told by name; a lost node is told and found again', { skip: skip || (real && 'needs the mock') }, async () => {
  const page = await open(browser, url, { hash: '#/client' });
  await connect(page, 'extended', freshMid());
  await fetch(`${url}/mock/kick`);
  const end = await page.until('the end', () => document.getElementById('client-end').textContent);
  assert.equal(end, '4503 KICKED · an operator ended this session · should not come back unless something changes');
  await fetch(`${url}/mock/fail`);
  await says(page, '#alert-words', 'No answer');
  await says(page, '#node-state', 'No answer');
  await fetch(`${url}/mock/fail`);
  await click(page, '#alert-retry');
  await page.until('no alert', () => document.getElementById('alert').hidden);
});
