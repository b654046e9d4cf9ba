// What can go wrong, as classes: an application asks `instanceof` and `reason`, and reads `message` to people.

/** Everything that this SDK throws by itself, wrong arguments (TypeError) aside. */
export class PerseidError extends Error {
  /** `reason` is an UPPER_SNAKE word; `retryable`: the same call may succeed later. */
  constructor(reason, message, { code = 0, retryable = false, retryAfterMs = null, detail = {} } = {}) {
    super(message);
    this.name = new.target.name;
    this.reason = reason;
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.detail = detail;
  }
}

/** The server refused a request. */
export class RefusedError extends PerseidError {}

/** The session ended. `comesBack`: the client connects again by itself. */
export class DisconnectedError extends PerseidError {
  constructor(reason, message, options = {}) {
    super(reason, message, { ...options, retryable: options.comesBack ?? true });
    this.comesBack = options.comesBack ?? true;
  }
}

/** No answer in time: what was asked may have happened. */
export class TimeoutError extends PerseidError {
  constructor(message) {
    super('TIMEOUT', message, { retryable: true });
  }
}

/** The client was closed by its application. */
export class ClosedError extends PerseidError {
  constructor() {
    super('CLOSED', 'this client was closed: make a new one');
  }
}

/** The storage could not keep something, or another tab has it. */
export class StorageError extends PerseidError {}

/** More waits than may: outbox or requests. Wait for answers before asking for more. */
export class FullError extends PerseidError {
  constructor(what) {
    super('FULL', `too many ${what} wait already: wait for some of them first`, { retryable: true });
  }
}

/** From the JSON of ERROR. `retryable` for what surely or maybe was not done and may be done later. */
export function refused(json) {
  const code = Number.isInteger(json.code) ? json.code : 0;
  const reason = typeof json.reason === 'string' ? json.reason : 'UNKNOWN';
  const message = typeof json.message === 'string' && json.message !== '' ? json.message : `the server refused: ${reason}`;
  const retryable = ['RATE_LIMITED', 'UNAVAILABLE', 'UNKNOWN', 'OVERLOADED', 'INTERNAL'].includes(reason) || code === 429 || code === 503 || code === 504;
  return new RefusedError(reason, message, { code, retryable, retryAfterMs: waitOf(json), detail: json.detail ?? {} });
}

/** The `retry_after_ms` of JSON from the server, or null. */
export function waitOf(json) {
  const wait = json.retry_after_ms;
  return Number.isFinite(wait) && wait >= 0 ? wait : null;
}
