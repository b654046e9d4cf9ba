// Asking again and again: not while the page is hidden, slower while it fails, not at all without access.

const BACKOFF_MS = [1000, 2000, 4000, 8000, 15_000, 30_000];
/** Without access asking again is of no use. */
export const REFUSED = [401, 403];

/** How long to wait after the `failures`-th failure in a row, ms. What the node asked for is kept to, within ten minutes. */
export function backoff(failures, retryAfterMs = null) {
  const own = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1];
  return Math.max(own, Math.min(retryAfterMs ?? 0, 600_000));
}

/**
 * Calls `ask()` every `everyMs`. `onAnswer(answer)`, or `onFailure(problem, nextMs)`, where `nextMs` null means: not again
 * until `now()`. Starts stopped. `page`: what tells `hidden` and `visibilitychange`.
 */
export class Poll {
  #ask;
  #everyMs;
  #onAnswer;
  #onFailure;
  #page;
  #timer = null;
  #running = false;
  #halted = false;
  #asking = false;
  #failures = 0;
  #round = 0;

  constructor({ ask, everyMs, onAnswer, onFailure, page = document }) {
    this.#ask = ask;
    this.#everyMs = everyMs;
    this.#onAnswer = onAnswer;
    this.#onFailure = onFailure;
    this.#page = page;
    page.addEventListener('visibilitychange', () => this.#next(0));
  }

  start() {
    this.#running = true;
    this.now();
  }

  stop() {
    this.#running = false;
    this.#round += 1;
    clearTimeout(this.#timer);
  }

  /** Asks at once, also after a refusal; what is still under way counts no more. */
  now() {
    this.#halted = false;
    this.#failures = 0;
    this.#round += 1;
    this.#asking = false;
    this.#next(0);
  }

  #next(ms) {
    clearTimeout(this.#timer);
    if (!this.#running || this.#halted || this.#asking || this.#page.hidden) return;
    this.#timer = setTimeout(() => this.#turn(), ms);
  }

  async #turn() {
    this.#asking = true;
    const round = this.#round;
    const started = performance.now();
    let wait;
    try {
      const answer = await this.#ask();
      if (round !== this.#round) return;
      this.#failures = 0;
      wait = Math.max(100, this.#everyMs - (performance.now() - started));
      this.#onAnswer(answer);
    } catch (problem) {
      if (round !== this.#round) return;
      this.#failures += 1;
      this.#halted = REFUSED.includes(problem.status);
      wait = this.#halted ? null : backoff(this.#failures, problem.retryAfterMs);
      this.#onFailure(problem, wait);
    } finally {
      if (round === this.#round) this.#asking = false;
    }
    if (wait !== null) this.#next(wait);
  }
}
