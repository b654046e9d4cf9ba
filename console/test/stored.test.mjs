// Inboxes and groups in a browser, against the mock.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { start } from './mock-server.mjs';
import { click, launchBrowser, open, press, says, set, skip, visit } from './support/page.mjs';

let browser;
let mock;

before(async () => {
  if (!skip) browser = await launchBrowser();
});

beforeEach(async () => {
  mock?.close();
  mock = skip ? null : await start();
});

after(async () => {
  await browser?.close();
  mock?.close();
});

const happen = (what) => fetch(`${mock.url}/mock/${what}`);
const firstPosition = (page) => page.run(() => document.querySelector('#inbox-messages tbody td')?.textContent.replace(/\D/g, ''));

test('an inbox: where it stands, how far devices are, its messages as they are', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/users/9' });
  await says(page, '#inbox-head', '1,340');
  await says(page, '#inbox-floor', '1,201');
  await says(page, '#inbox-devices', '18 messages behind');
  await says(page, '#inbox-devices', '100 of them not kept any more');
  await says(page, '#inbox-devices', 'up to date');
  await says(page, '#inbox-messages', 'see you at 1340 ☄ 流星');
  await says(page, '#inbox-messages', '<img src=x onerror=alert(1)>');
  await says(page, '#inbox-messages', 'Taken back or removed');
  await says(page, '#inbox-messages', '300 B, no text');
  await says(page, '#inbox-messages .chip', 'members');
  assert.equal(await page.run(() => document.querySelectorAll('main img').length), 0, 'bodies stay text');
  assert.equal(await page.run(() => document.querySelectorAll('#inbox-messages tbody tr').length), 20, 'a whole page, though the node cuts it');

  await press(page, '#inbox-messages details summary');
  await page.until('all of it', () => document.querySelector('#inbox-messages details[open] pre'));
  await happen('come');
  await says(page, '#inbox-messages', 'came 1341');
  assert.equal(await page.run(() => document.querySelectorAll('#inbox-messages details[open]').length), 1, 'what is open stays open');
  assert.deepEqual(page.problems, []);
});

test('paging back to the oldest and forward again, by keyboard; what comes meanwhile does not move the page', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/users/9' });
  await says(page, '.pages', 'Positions 1,321 to 1,340; 1,201 to 1,340 are kept');
  await press(page, '.pages button:nth-of-type(3)');
  await says(page, '.pages', 'Positions 1,301 to 1,320');
  assert.equal(await page.run(() => document.activeElement.textContent), 'Older', 'the focus stays');
  await says(page, '#announcer', 'Positions 1,301 to 1,320');
  await happen('come');
  await says(page, '.pages', '1,201 to 1,341 are kept');
  assert.equal(await firstPosition(page), '1320');
  for (let last = 1300; last >= 1220; last -= 20) {
    await page.key('Enter');
    await says(page, '.pages', `Positions ${(last - 19).toLocaleString('en')} to ${last.toLocaleString('en')};`);
  }
  assert.equal(await page.run(() => document.activeElement.getAttribute('aria-disabled')), 'true');
  await page.key('Enter');
  await press(page, '.pages button:nth-of-type(2)');
  await says(page, '.pages', 'Positions 1,221 to 1,240;');
  await press(page, '.pages button:nth-of-type(1)');
  await says(page, '#inbox-messages', 'came 1341');
  assert.deepEqual(page.problems, []);
});

test('inboxes with nothing in them, and a node that keeps none', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/users/8' });
  await says(page, '#inbox-messages', 'Nothing has come yet.');
  await says(page, '#inbox-no-devices', 'No device has acknowledged');
  await visit(page, '#/users/11');
  await says(page, '#inbox-messages', 'None of the 60 messages that came is kept any more.');
  await visit(page, '#/users/7,8');
  await page.until('no inbox of several', () => document.getElementById('inbox-panel').hidden);
  await happen('keep');
  await visit(page, '#/users/9');
  await says(page, '#users-tables', 'iPhone 15');
  await says(page, '#inbox-none', 'This node keeps no messages');
  assert.equal(await page.run(() => document.getElementById('inbox-kept').checkVisibility()), false);
  await visit(page, '#/groups/42');
  await says(page, '#groups-notice', 'This node keeps no messages');
  // It is asked again, and then has it.
  await happen('keep');
  await says(page, '#groups-heading', 'Group 42');
  await page.until('no complaint', () => document.getElementById('groups-notice').textContent === '');
});

test('an inbox that cannot be read: said so, the sessions go on, it is tried again', { skip }, async () => {
  await happen('busy');
  const page = await open(browser, mock.url, { hash: '#/users/9' });
  await says(page, '#inbox-messages .notice', 'The node cannot answer now. Try again in a moment.');
  await says(page, '#inbox-messages .notice', 'the store is busy');
  await says(page, '#inbox-head', '1,340');
  await says(page, '#users-tables', 'iPhone 15');
  await happen('busy');
  await says(page, '#inbox-messages', 'see you at 1340');
  assert.equal(await page.run(() => document.querySelector('#inbox-messages .notice').textContent), '');
  await happen('busy');
  await click(page, '#inbox-messages button', 'Older');
  await says(page, '#inbox-messages .notice', 'The node cannot answer now.');
  await says(page, '#inbox-messages', 'see you at 1340');
  await happen('busy');
  await says(page, '.pages', 'Positions 1,301 to 1,320');
});

test('a group from an inbox row: members, timeline; gone when it is dissolved', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/users/9' });
  await click(page, '#inbox-messages a[href="#/groups/42"]');
  await says(page, '#groups-heading', 'Group 42');
  assert.equal(await page.run(() => document.activeElement.textContent), 'Groups', 'the heading has the focus');
  await says(page, '#groups-name', 'Lunch <img src=x onerror=alert(1)>');
  await page.until('its members', () => document.getElementById('groups-members').innerText.includes('8'));
  await says(page, '#groups-messages', 'line 30');
  await says(page, '#groups-messages', '<img src=x onerror=alert(1)>');
  await click(page, '#groups-messages button', 'Older');
  await says(page, '#groups-messages', 'Positions 1 to 20; 1 to 31 are kept');
  await says(page, '#groups-messages .chip', 'members');
  await click(page, '#groups-messages button', 'Newest');
  await happen('come');
  await says(page, '#groups-messages', 'line 32');
  assert.equal(await page.run(() => document.querySelectorAll('main img').length), 0, 'names and bodies stay text');
  await happen('dissolve');
  await says(page, '#groups-notice', 'There is no group or channel 42.');
  assert.equal(await page.run(() => document.getElementById('groups-panel').hidden), true);
  assert.deepEqual(page.problems.filter((said) => !said.includes('404')), []);
});

test('a group by its id; a channel with many members', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/groups' });
  await set(page, 'groups-form', { id: 'lunch' });
  await click(page, '#groups-form button');
  await says(page, '#groups-notice', 'above 0 and below 2^53');
  await set(page, 'groups-form', { id: '77' });
  await click(page, '#groups-form button');
  await says(page, '#groups-heading', 'Channel 77');
  await says(page, '#groups-messages', 'Nothing has come yet.');
  assert.deepEqual(await page.run(() => [document.querySelectorAll('#groups-members a').length, document.getElementById('groups-who').open]), [200, false]);
  await click(page, '#groups-who summary');
  await says(page, '#groups-more', 'and 1,000 more');
  await click(page, '#groups-members a', '1007');
  await page.until('the user', () => location.hash === '#/users/1007');
  assert.deepEqual(page.problems, []);
});

test('a token that is asked for, and given late', { skip }, async () => {
  const page = await open(browser, mock.url, { hash: '#/users/9' });
  await says(page, '#inbox-messages', 'see you at 1340');
  await happen('token');
  await says(page, 'dialog h2', 'API token');
  await page.key('Escape');
  await says(page, '#users-notice', 'does not accept this token');
  await click(page, '#token');
  await page.until('the field', () => document.activeElement.type === 'password');
  await page.type('pk-read');
  await page.key('Enter');
  await page.until('no complaint', () => document.getElementById('users-notice').textContent === '');
  await says(page, '#inbox-messages', 'see you at 1340');
});
