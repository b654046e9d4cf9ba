// The SDK and the chat against the program itself, which is killed in between.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Client, KIND, MemoryStorage } from '../../sdk/js/src/index.js';
import { Program, noProgram } from './support/node.mjs';
import { enter, launchBrowser, online, openRow, press, problems, say, says, skip as noBrowser, texts, tick } from './support/window.mjs';

const skip = noProgram || noBrowser;
let browser;
let program;
const clients = [];

before(async () => {
  if (skip) return;
  browser = await launchBrowser();
  program = new Program();
  await program.start();
});

after(async () => {
  for (const client of clients) await client.close();
  await browser?.close();
  await program?.close();
});

async function until(what, holds) {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited in vain: ${what}`);
}

async function join(mid, storage = new MemoryStorage()) {
  const client = new Client({ url: program.ws, mid, storage });
  clients.push(client);
  const seen = [];
  client.on('message', (message) => void seen.push(message));
  await client.start();
  await until('live', () => client.state.phase === 'live');
  return { client, seen };
}

const said = (seen) => seen.filter(({ kind }) => kind === KIND.DIRECT).map(({ text }) => text);

test('the SDK: a hundred messages, the node killed twice, each one once and in order', { skip: noProgram }, async () => {
  const [ann, ben] = [await join(7001n), await join(7002n)];
  const wanted = Array.from({ length: 100 }, (_, index) => `message ${index}`);
  const accepted = [];
  for (const [index, body] of wanted.entries()) {
    accepted.push((await ann.client.send({ conv: 7002n, body })).accepted);
    if (index === 30 || index === 70) {
      await accepted[index - 5];
      await program.kill();
      await program.start();
      ann.client.hurry();
      ben.client.hurry();
    }
  }
  const results = await Promise.all(accepted);
  await until('both have all', () => said(ben.seen).length >= 100 && said(ann.seen).length >= 100);
  assert.deepEqual(said(ben.seen), wanted);
  assert.deepEqual(said(ann.seen), wanted);
  assert.equal(new Set(results.map(({ id }) => id)).size, 100);
  assert.deepEqual(ben.seen.map(({ pos }) => pos), ben.seen.map((_, index) => ben.seen[0].pos + BigInt(index)), 'positions are dense');

  const page = await ben.client.pull({ kind: KIND.DIRECT, conv: 7001n, before: 0n, limit: 3 });
  assert.deepEqual(page.messages.map(({ text, convPos }) => [text, convPos]), [['message 97', 98n], ['message 98', 99n], ['message 99', 100n]]);
  await ben.client.read({ kind: KIND.DIRECT, conv: 7001n, convPos: 100n });
  await until('ann learns it', () => ann.seen.some(({ event }) => event?.type === 'read' && event.conv_pos === 100));
  await ann.client.recall({ kind: KIND.DIRECT, conv: 7002n, convPos: 100n });
  await until('ben learns it', () => ben.seen.some(({ event }) => event?.type === 'recall' && event.conv_pos === 100));
  const { heads } = await ben.client.heads();
  assert.deepEqual(heads.map(({ kind, conv, read }) => [kind, conv, read]), [[KIND.DIRECT, 7001n, 100n]]);
});

test('two windows chat; the node is killed and started again: nothing lost, nothing doubled', { skip }, async () => {
  const [ann, ben] = [await enter(browser, program.url, 'Ann'), await enter(browser, program.url, 'Ben', { width: 360, height: 740 })];
  await openRow(ann, 'Ben');
  await openRow(ben, 'Ann');
  await say(ann, 'before');
  await say(ben, 'hello');
  await tick(ann, 'seen');
  await program.kill();
  await says(ann, '#banner', 'What you write is kept.');
  await say(ann, 'while it is down');
  await say(ben, 'me too');
  await tick(ann, 'queued');
  await program.start();
  for (const page of [ann, ben]) {
    await page.run(() => document.getElementById('banner-action').click());
    await online(page);
  }
  await says(ben, '.message.theirs', 'while it is down');
  await says(ann, '.message.theirs', 'me too');
  await say(ben, 'after');
  await says(ann, '.message.theirs', 'after');
  await tick(ben, 'seen');
  const order = await texts(ann);
  assert.deepEqual(await texts(ben), order, 'both see one order');
  assert.deepEqual([...order].sort(), ['after', 'before', 'hello', 'me too', 'while it is down']);
  await ann.goto('about:blank');
  await ann.goto(program.url);
  await online(ann);
  await openRow(ann, 'Ben');
  await says(ann, '.message.theirs', 'after');
  assert.deepEqual(await texts(ann), order, 'and after loading anew');
  assert.deepEqual([...problems(ann), ...problems(ben)], []);
});

test('everyone, a group, the live room, on the real push API', { skip }, async () => {
  const [cy, dan] = [await enter(browser, program.url, 'Cy'), await enter(browser, program.url, 'Dan')];
  await openRow(cy, 'Everyone');
  await says(cy, '.separator', 'Dan is here');
  await say(cy, 'hello all');
  await openRow(dan, 'Everyone');
  await says(dan, '.message.theirs', 'hello all');
  await openRow(dan, 'Live room');
  await openRow(cy, 'Live room');
  await say(cy, 'live');
  await says(dan, '.message.theirs', 'live');
  await press(dan, '#menu');
  await press(dan, '#menu-items button');
  await says(dan, '#banner', 'You are offline.');
  await say(cy, 'missed');
  await press(dan, '#banner-action');
  await says(dan, '.separator.recovered', '1 missed message recovered');
  await says(dan, '.message.theirs', 'missed');
  assert.deepEqual([...problems(cy), ...problems(dan)], []);
});
