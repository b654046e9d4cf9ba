// The node's numbers over time: a history of the last five minutes, and the poller that feeds it.

/** How far back the plots go, ms. */
export const WINDOW_MS = 5 * 60 * 1000;
/** Points further apart than this, ms, are not joined by a line. */
export const GAP_MS = 3500;
const POLL_MS = 1000;
const TIMEOUT_MS = 4000;
/** More points than one a second in the window, so that a fast server clock cannot fill memory. */
const POINTS_MAX = 600;

const sum = (group) => Object.values(group ?? {}).reduce((total, value) => total + value, 0);

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
  };
}

/** Snapshots as points for the plots. */
export class History {
  points = [];
  #last = null;

  /** Takes a snapshot; answers with the rates since the one before, or null. */
  add(snapshot) {
    const since = rates(snapshot, this.#last);
    if (this.#last && snapshot.now_ms <= this.#last.now_ms) {
      // The server's clock went back: what was drawn has no place on the new axis.
      this.points = [];
    }
    this.#last = snapshot;
    this.points.push({ at: snapshot.now_ms, rates: since, sessions: snapshot.sessions });
    const oldest = snapshot.now_ms - WINDOW_MS - GAP_MS;
    while (this.points.length > POINTS_MAX || this.points[0].at < oldest) this.points.shift();
    return since;
  }

  /** The server's time of the newest point, ms; 0 before the first. */
  get latest() {
    return this.points.at(-1)?.at ?? 0;
  }
}

/** Sum of a group of counters. */
export { sum };

/**
 * Asks `url` once a second, pausing while the page is hidden. `onStats(snapshot)` for every answer, `onFailure(message)` else.
 * Answers with a function that stops it.
 */
export function poll(url, { onStats, onFailure, page = document, ask = fetch }) {
  let timer = null;
  let stopped = false;
  let asking = false;

  const next = (ms) => {
    clearTimeout(timer);
    timer = stopped || page.hidden ? null : setTimeout(turn, ms);
  };
  const turn = async () => {
    if (asking) return;
    asking = true;
    const started = Date.now();
    try {
      const answer = await ask(url, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: 'no-store' });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const snapshot = await answer.json();
      if (!stopped) onStats(snapshot);
    } catch (error) {
      if (!stopped) onFailure(error instanceof Error ? error.message : String(error));
    } finally {
      asking = false;
      next(Math.max(100, POLL_MS - (Date.now() - started)));
    }
  };
  const onVisibility = () => next(0);
  page.addEventListener('visibilitychange', onVisibility);
  turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
    page.removeEventListener('visibilitychange', onVisibility);
  };
}
