import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History, quantile, rates, WINDOW_MS } from '../js/stats.js';
import { axis, line, stack } from '../js/widgets/scale.js';

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

test('axes of bytes end at round numbers of their unit', () => {
  assert.deepEqual(axis(250 * 1024 * 1024, 1024).ticks, [0, 100, 200, 300].map((mib) => mib * 1024 * 1024));
  assert.deepEqual(axis(300, 1024).ticks, [0, 100, 200, 300]);
});

test('a line has a gap where nothing is known', () => {
  const at = (seconds, values) => ({ at: seconds * 1000, values });
  const points = [at(1, { a: 1 }), at(2, { a: null }), at(3, { a: 3 }), at(4, null), at(5, { a: 5 }), at(6, { b: 1 })];
  assert.deepEqual(line(points, 'a').map((run) => run.map(({ value }) => value)), [[1], [3], [5]]);
});

test('quantiles are of what came between', () => {
  const bounds_ms = [1, 2, 10];
  const before = { bounds_ms, counts: [100, 0, 0, 0] };
  assert.equal(quantile({ bounds_ms, counts: [100, 0, 0, 0] }, before, 0.99), null, 'nothing came');
  assert.equal(quantile({ bounds_ms, counts: [100, 10, 0, 0] }, before, 0.5), 1.5);
  assert.equal(quantile({ bounds_ms, counts: [200, 0, 0, 0] }, before, 1), 1);
  assert.equal(quantile({ bounds_ms, counts: [100, 0, 0, 5] }, before, 0.99), 10, 'above all bounds');
  assert.equal(quantile({ bounds_ms, counts: [1, 2] }, before, 0.5), null, 'other bounds');
  assert.equal(quantile(undefined, before, 0.5), null);
});

test('CPU, memory and latencies of points', () => {
  const history = new History();
  const more = (cpu_ms, count) => ({
    process: { cpu_ms, rss_bytes: 1000 },
    queued_bytes: 5,
    latency: { append: { bounds_ms: [1, 2], counts: [count, 0, 0] } },
  });
  history.add(snapshot(1000, 0, more(100, 0)));
  const { rates: since, latency, memory } = history.add(snapshot(2000, 0, more(600, 10)));
  assert.equal(since.cpuPercent, 50);
  assert.deepEqual(memory, { rss: 1000, queued: 5 });
  assert.ok(latency.append > 0.9 && latency.append <= 1 && latency.sync === null, JSON.stringify(latency));
  const unknown = rates(snapshot(2000, 0, { process: { cpu_ms: null } }), snapshot(1000, 0, { process: { cpu_ms: null } }));
  assert.equal(unknown.cpuPercent, null);
});
