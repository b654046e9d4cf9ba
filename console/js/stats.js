// The node's numbers over time: rates, quantiles, and a history of the last five minutes. Pure.

/** How far back the plots go, ms. */
export const WINDOW_MS = 5 * 60 * 1000;
/** Points further apart than this, ms, are not joined by a line. */
export const GAP_MS = 3500;
/** More points than one a second in the window, so that a fast server clock cannot fill memory. */
const POINTS_MAX = 600;
/** Quantiles are of what came in this long: shorter is nervous, longer is late. */
const LATENCY_MS = 10_000;
const LATENCIES = ['request', 'append', 'sync'];

/** Sum of a group of counters. */
export const sum = (group) => Object.values(group ?? {}).reduce((total, value) => total + value, 0);

/** Differences of two groups of counters per second, by name. Negative ones (a counter that began anew) are 0. */
function perSecond(now, before, seconds) {
  return Object.fromEntries(
    Object.entries(now ?? {}).map(([name, value]) => [name, Math.max(0, value - (before?.[name] ?? 0)) / seconds]),
  );
}

/** What flowed between two snapshots of one run of the node, per second; null if they cannot be compared. */
export function rates(now, before) {
  if (!before || before.started_ms !== now.started_ms || before.node !== now.node) return null;
  const seconds = (now.now_ms - before.now_ms) / 1000;
  if (!(seconds > 0)) return null;
  const groups = (name) => perSecond(now.counters[name], before.counters[name], seconds);
  const single = (name) => Math.max(0, now.counters[name] - before.counters[name]) / seconds;
  const [pushes, delivered, dropped] = [groups('pushes'), groups('delivered'), groups('dropped')];
  return {
    pushes,
    delivered,
    dropped,
    pushesTotal: sum(pushes),
    deliveredTotal: sum(delivered),
    droppedTotal: sum(dropped),
    writes: single('writes'),
    bytesSent: single('bytes_sent'),
    framesReceived: single('frames_received'),
    bytesReceived: single('bytes_received'),
    cpuPercent: cpuPercent(now.process, before.process, seconds),
  };
}

/** CPU time in percent of one core; null where the node does not tell. */
function cpuPercent(now, before, seconds) {
  if (!Number.isFinite(now?.cpu_ms) || !Number.isFinite(before?.cpu_ms)) return null;
  return (Math.max(0, now.cpu_ms - before.cpu_ms) / (seconds * 1000)) * 100;
}

/**
 * The `q`-quantile of what a histogram counted since `before`, ms; null if that was nothing. Within a bucket values count as
 * spread evenly; above all bounds as the last one.
 */
export function quantile(now, before, q) {
  if (!now?.counts || now.counts.length !== before?.counts?.length) return null;
  const counts = now.counts.map((value, index) => Math.max(0, value - before.counts[index]));
  const total = counts.reduce((all, value) => all + value, 0);
  if (total === 0) return null;
  let left = q * total;
  for (let index = 0; index < counts.length; index += 1) {
    if (left <= counts[index] && counts[index] > 0) {
      const low = index === 0 ? 0 : now.bounds_ms[index - 1];
      const high = now.bounds_ms[index] ?? low;
      return low + (high - low) * (left / counts[index]);
    }
    left -= counts[index];
  }
  return now.bounds_ms.at(-1) ?? null;
}

/** Snapshots as points for the plots. */
export class History {
  points = [];
  #last = null;
  #recent = [];

  /** Takes a snapshot; answers with its point: `{at, rates, latency, sessions, memory}`. */
  add(snapshot) {
    const since = rates(snapshot, this.#last);
    if (this.#last && (snapshot.now_ms <= this.#last.now_ms || snapshot.node !== this.#last.node)) {
      // The server's clock went back: what was drawn has no place on the new axis.
      this.points = [];
    }
    if (since === null) this.#recent = [];
    this.#last = snapshot;
    const memory = { rss: snapshot.process?.rss_bytes ?? 0, queued: snapshot.queued_bytes ?? 0 };
    const point = { at: snapshot.now_ms, rates: since, latency: this.#latency(snapshot), sessions: snapshot.sessions, memory };
    this.points.push(point);
    const oldest = snapshot.now_ms - WINDOW_MS - GAP_MS;
    while (this.points.length > POINTS_MAX || this.points[0].at < oldest) this.points.shift();
    return point;
  }

  #latency(snapshot) {
    const at = snapshot.now_ms;
    while (this.#recent.length > 1 && this.#recent[1].at <= at - LATENCY_MS) this.#recent.shift();
    const before = this.#recent[0]?.latency;
    this.#recent.push({ at, latency: snapshot.latency });
    if (this.#recent.length > POINTS_MAX) this.#recent.shift();
    if (!before) return null;
    return Object.fromEntries(LATENCIES.map((name) => [name, quantile(snapshot.latency?.[name], before[name], 0.99)]));
  }

  /** The server's time of the newest point, ms; 0 before the first. */
  get latest() {
    return this.points.at(-1)?.at ?? 0;
  }
}
