import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { alarmOf, stateOf } from '../js/header.js';
import { backoff, Poll } from '../js/poll.js';
import { Problem } from '../js/problem.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

const settle = () => new Promise((resolve) => setImmediate(resolve));

function setup(results) {
  const page = Object.assign(new EventTarget(), { hidden: false });
  const seen = [];
  let asked = 0;
  const poll = new Poll({
    page,
    everyMs: 1000,
    ask: async () => {
      asked += 1;
      const next = results.length > 0 ? results.shift() : 'fine';
      if (next instanceof Problem) throw next;
      return next;
    },
    onAnswer: (answer) => seen.push(answer),
    onFailure: (problem, waitMs) => seen.push([problem.status, waitMs]),
  });
  const pass = async (ms) => {
    for (let left = ms; left > 0; left -= 100) {
      mock.timers.tick(Math.min(100, left));
      await settle();
    }
  };
  return { page, poll, seen, pass, asked: () => asked };
}

test('once a second at most, and not while the page is hidden', async () => {
  const { page, poll, pass, asked } = setup([]);
  poll.start();
  await pass(3050);
  assert.ok(asked() >= 3 && asked() <= 4, String(asked()));
  const before = asked();
  page.hidden = true;
  page.dispatchEvent(new Event('visibilitychange'));
  await pass(10_000);
  assert.equal(asked(), before);
  page.hidden = false;
  page.dispatchEvent(new Event('visibilitychange'));
  await pass(10);
  assert.equal(asked(), before + 1, 'asked at once when it is seen again');
  poll.stop();
  await pass(5000);
  assert.equal(asked(), before + 1);
});

test('failures slow it down, an answer makes it quick again', async () => {
  const down = () => new Problem({ reason: 'NETWORK' });
  const { poll, seen, pass } = setup([down(), down(), down(), 'back']);
  poll.start();
  await pass(7300);
  poll.stop();
  assert.deepEqual(seen.slice(0, 4), [[0, 1000], [0, 2000], [0, 4000], 'back']);
});

test('what the node asks for is kept to, within reason', () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 60].map((failures) => backoff(failures)), [1000, 2000, 4000, 8000, 15_000, 30_000, 30_000]);
  assert.equal(backoff(1, 9000), 9000);
  assert.equal(backoff(1, 9e9), 600_000);
});

test('without access it waits to be told', async () => {
  const { poll, seen, pass, asked } = setup([new Problem({ status: 401 }), 'fine']);
  poll.start();
  await pass(60_000);
  assert.deepEqual(seen, [[401, null]]);
  poll.now();
  await pass(10);
  assert.equal(asked(), 2);
  assert.deepEqual(seen[1], 'fine');
  poll.stop();
});

test('an answer that comes after the end counts no more', async () => {
  const { poll, seen, pass } = setup(['late']);
  poll.start();
  mock.timers.tick(1);
  poll.stop();
  await pass(100);
  assert.deepEqual(seen, []);
});

test('the state of the node, and what the line of alarms says', () => {
  const store = (fields) => ({ stats: null, trouble: null, seenMs: 5000, ...fields });
  const stats = { ready: true, draining: false, log: { poisoned: null } };
  const lost = { problem: new Problem({ reason: 'NETWORK' }), nextMs: 9000 };
  assert.deepEqual(stateOf(store({})), ['waiting', '']);
  assert.deepEqual(stateOf(store({ stats })), ['ready', 'good']);
  assert.deepEqual(stateOf(store({ stats: { ...stats, ready: false } })), ['unready', 'bad']);
  assert.deepEqual(stateOf(store({ stats: { ...stats, draining: true } })), ['draining', 'warn']);
  assert.deepEqual(stateOf(store({ stats, trouble: lost })), ['lost', 'bad']);
  assert.deepEqual(stateOf(store({ trouble: { problem: new Problem({ status: 403 }), nextMs: null } })), ['denied', 'bad']);

  assert.equal(alarmOf(store({ stats }), 7000), null);
  const alarm = alarmOf(store({ stats, trouble: lost }), 7000);
  assert.deepEqual([alarm.key, alarm.values.seconds, alarm.action], ['alert.lost', 2, 'retry']);
  assert.equal(alarmOf(store({ stats: { ...stats, draining: true }, trouble: lost }), 7000).key, 'alert.left', 'it left, as asked');
  assert.equal(alarmOf(store({ stats: { ...stats, log: { poisoned: 'EIO' } } }), 0).key, 'alert.poisoned');
  assert.equal(alarmOf(store({ trouble: { problem: new Problem({ status: 401 }), nextMs: null } }), 0).action, 'token');
});
