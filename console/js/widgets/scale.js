// Where the values of a plot stand. Pure.

import { GAP_MS } from '../stats.js';

/**
 * Where the axis ends and its labels stand: 1, 2 or 5 times a power of ten, at most four steps. With `base` 1024 the powers
 * of ten count in units of bytes.
 */
export function axis(max, base = 1000) {
  if (!(max > 0)) return { top: 1, ticks: [0, 1] };
  const unit = base === 1024 && max >= 1024 ? 1024 ** Math.floor(Math.log2(max) / 10) : 1;
  const raw = max / unit / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999999);
  const steps = Math.ceil(max / unit / step - 1e-9);
  const ticks = Array.from({ length: steps + 1 }, (_, index) => Number((index * step).toPrecision(12)) * unit);
  return { top: ticks.at(-1), ticks };
}

/** Points as runs without a gap, each value summed onto those below it: `[[{at, tops: [..]}]]`. */
export function stack(points, names) {
  const runs = [];
  let run = null;
  let before = -Infinity;
  for (const { at, values } of points) {
    if (values === null) {
      run = null;
      continue;
    }
    if (run === null || at - before > GAP_MS) runs.push((run = []));
    let total = 0;
    run.push({ at, tops: names.map((name) => (total += values[name] ?? 0)) });
    before = at;
  }
  return runs;
}

/** Points of one value as runs without a gap: `[[{at, value}]]`; what is null or missing makes a gap. */
export function line(points, name) {
  const runs = [];
  let run = null;
  let before = -Infinity;
  for (const { at, values } of points) {
    const value = values?.[name] ?? null;
    if (value === null) {
      run = null;
      continue;
    }
    if (run === null || at - before > GAP_MS) runs.push((run = []));
    run.push({ at, value });
    before = at;
  }
  return runs;
}
