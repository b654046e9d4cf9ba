// The page against the program itself: from a push to its appearance, users, rooms, nodes, ends of sessions, a drain.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { timeOf } from '../js/stored.js';
import { noNode, startNode } from './support/node.mjs';
import { click, connect, freshMid, launchBrowser, open, press, row, says, set, skip as noBrowser, visit } from './support/page.mjs';

const skip = noBrowser || noNode;

const DAY_MS = 86_400_000;

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

for (const mode of ['classic', 'extended']) {
  test(`from a push to its appearance, ${mode}`, { skip }, async () => {
    const page = await open(browser, node.url, { hash: '#/client' });
    const user = freshMid();
    await connect(page, mode, user);
    await page.until('people online', () => document.getElementById('fact-online').textContent === '1');
    await set(page, 'push-form', { kind: 'mids', target: user, op: '1000', body: 'grüße 流星 ☄' });
    await click(page, '#push-send');
    await says(page, '#push-notice', 'Accepted as ');
    await row(page, 'PUSH 1000', 'grüße 流星 ☄');
    await set(page, 'push-form', { kind: 'room', target: `test://${user}`, op: '1007', body: 'AAH/', encoding: 'base64' });
    await click(page, '#push-send');
    await row(page, 'PUSH 1007', '00 01 ff');
    await set(page, 'push-form', { kind: 'all', op: '1000', body: 'to all', encoding: 'text' });
    await click(page, '#push-send');
    await click(page, 'dialog button[type=submit]');
    await row(page, 'PUSH 1000', 'to all');
    assert.deepEqual(page.problems, []);
    await page.close();
  });
}

test('the same id twice is pushed once; the same id for something else is refused', { skip }, async () => {
  const page = await open(browser, node.url, { hash: '#/push' });
  await set(page, 'push-form', { target: freshMid(), body: 'once', id: `order-${freshMid()}` });
  await click(page, '#push-send');
  await says(page, '#push-notice', 'Accepted as ');
  await click(page, '#push-send');
  await says(page, '#push-notice', 'accepted before, not sent again');
  await set(page, 'push-form', { body: 'twice' });
  await click(page, '#push-send');
  await says(page, '#push-notice', 'This id was used for another message.');
});

test('the session is found where it should be: overview, rooms, users, nodes', { skip }, async () => {
  const page = await open(browser, node.url, { hash: '#/client' });
  const user = freshMid();
  await connect(page, 'extended', user);
  await visit(page, '#/overview');
  await says(page, '#overview-rooms', `test://${user}`);
  await page.until('CPU and memory', () => /MiB/.test(document.getElementById('tiles').textContent) && /%/.test(document.getElementById('tiles').textContent));
  await page.until('plots', () => document.querySelectorAll('#plots polyline').length >= 5);
  await visit(page, '#/rooms');
  await says(page, '#view-rooms tbody', `test://${user}`);
  await visit(page, `#/users/${user}`);
  await says(page, '#users-tables', '127.0.0.1:');
  await says(page, '#users-tables', 'Extended');
  await visit(page, `#/users/${user},${freshMid()}`);
  await says(page, '#users-tables', 'Offline');
  await says(page, '#users-tables', 'web');
  await visit(page, '#/nodes');
  await says(page, '#view-nodes tbody', 'this one');
  assert.deepEqual(page.problems, []);
  await page.close();
});

test('hostile names stay text', { skip }, async () => {
  const page = await open(browser, node.url, { hash: '#/client' });
  const user = freshMid();
  const hostile = '"><img src=x onerror=globalThis.hit=1>';
  await set(page, 'client-form', { mode: 'classic', mid: user, room: `test://${hostile}`, key: `${user}${hostile}`, platform: hostile });
  await click(page, '#client-connect');
  await page.until('a live session', () => !document.getElementById('client-actions').disabled);
  await visit(page, '#/rooms');
  await says(page, '#view-rooms tbody', hostile);
  await click(page, '#view-rooms a', 'Push');
  await visit(page, `#/users/${user}`);
  await says(page, '#users-tables', hostile);
  const { images, hit } = await page.run(() => ({ images: document.querySelectorAll('main img').length, hit: globalThis.hit ?? null }));
  assert.deepEqual([images, hit], [0, null]);
  assert.deepEqual(page.problems, []);
  await page.close();
});

// The API of sessions and drains may be younger than this page.
async function knows(method, path) {
  const answer = await fetch(`${node.url}${path}`, { method, body: method === 'POST' ? '{"per_second":0}' : undefined });
  return answer.status !== 404 && answer.status !== 405;
}

test('a kick is seen by its client', { skip }, async (context) => {
  if (!(await knows('DELETE', '/v1/users/1/sessions'))) return context.skip('this node cannot end sessions yet');
  const page = await open(browser, node.url, { hash: '#/client' });
  const user = freshMid();
  await connect(page, 'extended', user);
  await visit(page, `#/users/${user}`);
  await press(page, '#users-tables button');
  await says(page, 'dialog h2', 'End this session?');
  await page.type('go away');
  await page.key('Enter');
  await says(page, '#users-notice', `1 session of user ${user} ended.`);
  await says(page, '#users-offline', 'is not online');
  await visit(page, '#/client');
  await says(page, '#client-end', '4503 KICKED');
  await page.close();
});

const call = (method, path, body) => fetch(`${node.url}${path}`, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });

test('stored messages: in the inbox of each member, in the timeline, behind by as much as no device has', { skip }, async (context) => {
  const [user, group] = [freshMid(), freshMid()];
  const made = await call('PUT', `/v1/groups/${group}`, { kind: 'group', members: [Number(user), 8], owner: Number(user), name: '<b>Lunch</b>' });
  if (!made.ok) return context.skip('this node keeps no messages for its API yet');
  const push = async (message) => assert.ok((await call('POST', '/v1/messages', message)).ok);
  for (let line = 1; line <= 30; line += 1) await push({ to: { group: Number(group) }, from: Number(user), body: `<i>line ${line}</i>` });
  await push({ to: { mids: [Number(user)] }, store: true, body_base64: 'AAH/' });

  const page = await open(browser, node.url, { hash: `#/users/${user}` });
  // The first is the event of the group's making.
  await says(page, '#inbox-head', '32');
  await says(page, '#inbox-messages', '3 B, no text');
  await says(page, '#inbox-messages', '<i>line 30</i>');
  await click(page, '#inbox-messages button', 'Older');
  await says(page, '#inbox-messages', 'Positions 1 to 20; 1 to 32 are kept');
  await says(page, '#inbox-messages .chip', 'members');
  const { messages } = await (await call('GET', `/v1/users/${user}/inbox?limit=1`)).json();
  assert.ok(Math.abs(timeOf(messages[0].id) - Date.now()) < DAY_MS, 'ids count from where this page thinks');

  await connect(page, 'extended', user);
  await click(page, '#client-actions button', 'Sync inbox');
  await click(page, '#client-actions button', 'Ack');
  await visit(page, `#/users/${user}`);
  await page.until('a device', () => document.querySelectorAll('#inbox-devices tbody tr').length === 1);

  await click(page, `#inbox-messages a[href="#/groups/${group}"]`);
  await says(page, '#groups-name', '<b>Lunch</b>');
  await says(page, '#groups-messages', '<i>line 30</i>');
  await push({ to: { group: Number(group) }, from: Number(user), body: 'live' });
  await says(page, '#groups-messages', 'live');
  assert.ok((await call('DELETE', `/v1/groups/${group}`)).ok);
  await says(page, '#groups-notice', `There is no group or channel ${group}.`);
  assert.equal(await page.run(() => document.querySelectorAll('#groups-panel :is(b, i), #inbox-panel :is(b, i)').length), 0, 'names and bodies stay text');
  await page.close();
});

test('a drain: its progress, the client sent away, the node gone as asked', { skip }, async (context) => {
  const id = (await (await fetch(`${node.url}/v1/nodes`)).json()).nodes[0].id;
  if (!(await knows('POST', `/v1/nodes/${encodeURIComponent(id)}:drain`))) return context.skip('this node cannot be drained from outside yet');
  const leaving = await startNode();
  try {
    const page = await open(browser, leaving.url, { hash: '#/client' });
    await connect(page, 'extended', freshMid());
    await visit(page, '#/nodes');
    await click(page, '#view-nodes tbody button');
    await says(page, 'dialog h2', 'Drain ');
    await page.key('Enter');
    await says(page, '#view-nodes .notice', 'drains, 200 sessions per second.');
    await visit(page, '#/client');
    await says(page, '#client-end', '4001 DRAINING');
    assert.equal(await leaving.ended, 0);
    await says(page, '#alert-words', 'has gone, as asked');
    await page.close();
  } finally {
    await leaving.close();
  }
});
