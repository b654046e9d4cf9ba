// The chat in a browser, against the double: what two people do in their first minutes, at both widths, in both languages.
// CHAT_SHOTS=folder keeps screenshots. AXE_CORE: the path of axe.min.js (scripts/test-console fetches it).

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { startMock } from './mock-server.mjs';
import { enter, flaws, launchBrowser, online, openRow, press, problems, say, says, skip, texts, tick } from './support/window.mjs';

const shots = process.env.CHAT_SHOTS;
const axe = process.env.AXE_CORE;

let browser;
let mock;
let windows = [];

before(async () => {
  if (!skip) browser = await launchBrowser();
});

beforeEach(async () => {
  if (!skip) mock = await startMock();
});

afterEach(async () => {
  for (const page of windows.splice(0)) await page.close();
  await mock?.close();
});

after(() => browser?.close());

async function come(name, look) {
  const page = await enter(browser, mock.url, name, look);
  windows.push(page);
  return page;
}

async function shoot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  const { data } = await page.send('Page.captureScreenshot', { format: 'png' });
  writeFileSync(join(shots, `${name}.png`), Buffer.from(data, 'base64'));
}

async function audit(page) {
  assert.deepEqual(await flaws(page), []);
  if (!axe || !existsSync(axe)) return;
  await page.send('Runtime.evaluate', { expression: readFileSync(axe, 'utf8') });
  const found = await page.run(async () => {
    // What is half faded in has no contrast yet. Endless ones cannot be finished.
    for (const animation of document.getAnimations()) if (Number.isFinite(animation.effect.getComputedTiming().endTime)) animation.finish();
    const { violations } = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
  });
  assert.deepEqual(found, []);
}

test('two windows: messages, typing, receipts, unread, taking back', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben', { width: 360, height: 740 })];
  await openRow(ann, 'Ben');
  await says(ann, '#thread-note', 'Online');
  await say(ann, 'hello Ben');
  await tick(ann, 'accepted');
  await says(ben, '.row .badge', '1');
  await ben.until('the title counts', () => document.title.startsWith('(1)'));
  await openRow(ben, 'Ann');
  await says(ben, '.message.theirs', 'hello Ben');
  await tick(ann, 'seen');
  await ben.until('nothing unread', () => !document.title.startsWith('('));

  await ben.until('the composer', () => (document.getElementById('text').focus(), true));
  await ben.type('hi');
  await says(ann, '#typing', 'Ben is typing…');
  await ben.key('Enter');
  await says(ann, '.message.theirs', 'hi');
  await ann.until('typing is over', () => document.getElementById('typing').hidden);

  await say(ann, 'wrong window');
  await says(ben, '.message.theirs', 'wrong window');
  await press(ann, '.message.mine:last-of-type .act');
  await says(ben, '.message.gone', 'Message taken back');
  await says(ann, '.message.gone', 'You took this message back');
  assert.deepEqual(await texts(ben), ['hello Ben', 'hi', 'Message taken back']);
  await audit(ann);
  await audit(ben);
  await ben.key('Escape');
  await says(ben, '#conversations', 'Ann');
  await audit(ben);
  assert.deepEqual([...problems(ann), ...problems(ben)], []);
});

test('offline and back: what was written goes out, what came is there, once each', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await openRow(ann, 'Ben');
  await openRow(ben, 'Ann');
  await say(ann, 'one');
  await says(ben, '.message', 'one');
  await press(ann, '#menu');
  await press(ann, '#menu-items button');
  await says(ann, '#banner', 'You are offline.');
  await say(ann, 'written offline');
  await tick(ann, 'queued');
  await say(ben, 'two');
  await say(ben, 'three');
  await press(ann, '#banner-action');
  await says(ann, '.message.theirs', 'three');
  await says(ben, '.message.theirs', 'written offline');
  assert.deepEqual(await texts(ann), ['one', 'two', 'three', 'written offline']);
  assert.deepEqual(await texts(ben), await texts(ann));
  assert.equal(await ann.run(() => document.getElementById('banner').hidden), true);
  assert.deepEqual([...problems(ann), ...problems(ben)], []);
});

test('what was written offline survives the window', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await openRow(ann, 'Ben');
  await openRow(ben, 'Ann');
  await press(ann, '#menu');
  await press(ann, '#menu-items button');
  await says(ann, '#banner', 'You are offline.');
  await say(ann, 'one');
  await say(ann, 'two');
  await ann.goto('about:blank');
  assert.deepEqual(await texts(ben), []);
  await ann.goto(mock.url);
  await says(ben, '.message.theirs', 'two');
  assert.deepEqual(await texts(ben), ['one', 'two']);
  await openRow(ann, 'Ben');
  await tick(ann, 'seen');
  assert.deepEqual(await texts(ann), ['one', 'two']);
});

test('the network goes: said with a countdown, mended without a gap', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await openRow(ann, 'Ben');
  await openRow(ben, 'Ann');
  await say(ann, 'before');
  await says(ben, '.message', 'before');
  const { world, port } = mock;
  await mock.close();
  await says(ann, '#banner', 'What you write is kept.');
  await say(ann, 'during');
  await tick(ann, 'queued');
  await shoot(ann, 'away-1400');
  mock = await startMock({ port, world });
  await online(ann);
  await says(ben, '.message.theirs', 'during');
  await tick(ann, 'seen');
  assert.deepEqual(await texts(ben), ['before', 'during']);
  await ann.until('the banner goes', () => document.getElementById('banner').hidden);
});

test('a window loaded anew is who it was, with all that was said', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await openRow(ann, 'Ben');
  await say(ann, 'first');
  await openRow(ben, 'Ann');
  await tick(ann, 'seen');
  await ann.goto('about:blank');
  await say(ben, 'while you were away');
  await ann.goto(mock.url);
  await online(ann);
  await says(ann, '#me-name', 'Ann');
  await says(ann, '.row .badge', '1');
  await openRow(ann, 'Ben');
  await says(ann, '.message.theirs', 'while you were away');
  await tick(ann, 'seen');
  assert.deepEqual(await texts(ann), ['first', 'while you were away']);
  assert.deepEqual(problems(ann), []);
});

test('a group of one’s own, and long conversations page by page', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await says(ann, '#people', 'Ben');
  await press(ann, '#new-group');
  await ann.type('Night shift');
  await shoot(ann, 'group-1400');
  await press(ann, '#group-people input');
  await press(ann, '#group-form .primary');
  await says(ann, '#thread-title', 'Night shift');
  for (let number = 1; number <= 70; number += 1) await say(ann, `line ${number}`);
  await openRow(ben, 'Night shift');
  await says(ben, '.message.theirs', 'line 70');
  await says(ben, '.author', 'Ann');
  await ben.run(() => document.getElementById('scroller').scrollTo(0, 0));
  await says(ben, '.message', 'line 1');
  await ben.until('all of them, in order', () => {
    const lines = [...document.querySelectorAll('.message .text')].map((node) => node.textContent);
    return lines.length === 70 && lines.every((line, index) => line === `line ${index + 1}`);
  });
  assert.deepEqual([...problems(ann), ...problems(ben)], []);
});

test('the live room: who was away for a moment gets what was missed; who was away too long is told', { skip }, async () => {
  const [ann, ben] = [await come('Ann'), await come('Ben')];
  await openRow(ann, 'Live room');
  await openRow(ben, 'Live room');
  await says(ann, '#thread-note', '2 here now');
  await say(ann, 'one');
  await says(ben, '.message.theirs', 'one');
  const away = async () => {
    await press(ben, '#menu');
    await press(ben, '#menu-items button');
    await says(ben, '#banner', 'You are offline.');
  };
  await away();
  await say(ann, 'two');
  await say(ann, 'three');
  await press(ben, '#banner-action');
  await says(ben, '.separator.recovered', '2 missed messages recovered');
  assert.deepEqual(await texts(ben), ['one', 'two', 'three']);
  await away();
  mock.world.ring = 2;
  for (const text of ['four', 'five', 'six']) await say(ann, text);
  await press(ben, '#banner-action');
  await says(ben, '.separator.gap', 'some of it is gone');
  assert.deepEqual(await texts(ben), ['one', 'two', 'three'], 'a part of it is not shown as the whole');
  await shoot(ben, 'live-1400');
  await audit(ben);
});

for (const [width, scheme, language] of [[360, 'light', 'zh-CN'], [360, 'dark', 'en-GB'], [1400, 'dark', 'zh-CN'], [1400, 'light', 'en-GB']]) {
  test(`${width} px, ${scheme}, ${language}: everything fits, for eyes, fingers and screen readers`, { skip }, async () => {
    const look = { width, height: width === 360 ? 740 : 900, scheme, language };
    const name = (part) => `${part}-${width}-${scheme}-${language.slice(0, 2)}`;
    const door = await browser.page();
    windows.push(door);
    await door.look(look);
    await door.speak(language);
    await door.goto(mock.url);
    await door.until('the door', () => !document.getElementById('door').hidden);
    await shoot(door, name('door'));
    await audit(door);
    const ben = await come('Ben with a rather long name');
    const ann = await come('Ann', look);
    await openRow(ben, 'Ann');
    for (const text of ['hello', `a long word: ${'x'.repeat(200)}`, '多行\n文字']) await say(ben, text.replace('\n', ' '));
    await ann.until('unread', () => document.querySelector('.badge')?.textContent === '3');
    await shoot(ann, name('list'));
    await audit(ann);
    await openRow(ann, 'Ben');
    await say(ann, 'answer');
    await tick(ann, 'seen');
    await shoot(ann, name('thread'));
    await audit(ann);
    assert.equal(await ann.run(() => document.documentElement.lang), language);
    assert.deepEqual(problems(ann), []);
  });
}
