// Requests of the application: they outlive a lost connection until their time is up, because each may be asked twice.

import { FullError, TimeoutError } from '../errors.js';

const WAITING_MAX = 1000;

/** `ports`: `send(request)` writes it to the session, `answer(id, error, frame)`. */
export class Requests {
  #ports;
  #waiting = new Map();
  #session = false;

  constructor(ports) {
    this.#ports = ports;
  }

  /** `request`: `{id, fields, untilMs}`. */
  add(request) {
    if (this.#waiting.size >= WAITING_MAX) return this.#ports.answer(request.id, new FullError('requests'), null);
    this.#waiting.set(request.id, request);
    if (this.#session) this.#ports.send(request);
  }

  begin() {
    this.#session = true;
    for (const request of this.#waiting.values()) this.#ports.send(request);
  }

  lost() {
    this.#session = false;
  }

  answered(id, error, frame) {
    if (this.#waiting.delete(id)) this.#ports.answer(id, error, frame);
  }

  /** Ends all of them, for good. */
  fail(error) {
    for (const id of [...this.#waiting.keys()]) this.answered(id, error, null);
  }

  deadline() {
    let first = null;
    for (const { untilMs } of this.#waiting.values()) if (first === null || untilMs < first) first = untilMs;
    return first;
  }

  tick(now) {
    for (const { id, untilMs } of [...this.#waiting.values()]) {
      if (untilMs <= now) this.answered(id, new TimeoutError('no answer in time: is the connection up?'), null);
    }
  }
}
