import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axis, stack } from '../js/plot.js';
import { History, poll, rates, WINDOW_MS } from '../js/stats.js';

function snapshot(now, room, more = {}) {
  const counters = {
    pushes: { room },
    delivered: { direct: 0, room },
    dropped: { slow: 0 },
    writes: room,
    bytes_sent: room * 10,
    frames_received: 0,
    bytes_received: 0,
  };
  return { node: 'n', started_ms: 1, now_ms: now, sessions: { tcp: 1, websocket: 2 }, counters, ...more };
}

test('rates are differences over the time between', () => {
  const since = rates(snapshot(3000, 30), snapshot(1000, 10));
  assert.equal(since.deliveredTotal, 10);
  assert.equal(since.delivered.room, 10);
  assert.equal(since.bytesSent, 100);
});

test('no rates across a restart, none for one moment, none for the first', () => {
  assert.equal(rates(snapshot(2000, 5), null), null);
  assert.equal(rates(snapshot(2000, 5, { started_ms: 1500 }), snapshot(1000, 500)), null);
  assert.equal(rates(snapshot(1000, 5), snapshot(1000, 5)), null);
});

test('the history keeps five minutes, and begins anew when the clock goes back', () => {
  const history = new History();
  for (let second = 0; second < 400; second += 1) history.add(snapshot(1e6 + second * 1000, second));
  assert.ok(history.points.length <= WINDOW_MS / 1000 + 5 && history.points.length >= WINDOW_MS / 1000);
  history.add(snapshot(5000, 400));
  assert.equal(history.points.length, 1);
});

test('a fast clock does not fill memory', () => {
  const history = new History();
  for (let index = 0; index < 5000; index += 1) history.add(snapshot(1e6 + index, index));
  assert.equal(history.points.length, 600);
});

test('axes end at round numbers at or above the highest value', () => {
  assert.deepEqual(axis(0), { top: 1, ticks: [0, 1] });
  assert.deepEqual(axis(4).ticks, [0, 1, 2, 3, 4]);
  assert.deepEqual(axis(1700).ticks, [0, 500, 1000, 1500, 2000]);
  for (let value = 0.013; value < 1e7; value *= 1.37) {
    const { top, ticks } = axis(value);
    assert.ok(top >= value * 0.999999 && ticks.length >= 2 && ticks.length <= 5, `${value}: ${ticks}`);
  }
});

test('stacking sums, and a gap breaks the line', () => {
  const at = (seconds, values) => ({ at: seconds * 1000, values });
  const runs = stack([at(0, null), at(1, { a: 1, b: 2 }), at(2, { a: 3 }), at(9, { a: 1 }), at(10, null), at(11, { b: 1 })], ['a', 'b']);
  assert.deepEqual(runs.map((run) => run.map(({ tops }) => tops)), [[[1, 3], [3, 3]], [[1, 1]], [[0, 1]]]);
});

test('polling stops while the page is hidden, and asks at once when it is seen again', async () => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  let asked = 0;
  const seen = [];
  const answered = () => new Promise((resolve) => seen.push(resolve));
  const ask = async () => {
    asked += 1;
    return { ok: true, json: async () => ({}) };
  };
  const first = answered();
  const stop = poll('/x', { page, ask, onStats: () => seen.shift()?.(), onFailure: assert.fail });
  await first;
  page.hidden = true;
  page.dispatchEvent(new Event('visibilitychange'));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal(asked, 1);
  const second = answered();
  page.hidden = false;
  page.dispatchEvent(new Event('visibilitychange'));
  await second;
  stop();
  assert.equal(asked, 2);
});
