// Requests to the node: JSON both ways, the token as a header, failures as Problems.

import { Problem, problemOf } from './problem.js';

const TIMEOUT_MS = 12_000;

/** A path below `/v1/users/`, `/v1/nodes/`: a name becomes one segment whatever is in it. */
export function segment(name) {
  // A dot alone would be taken as a step of the path; encoding it twice over is no name of ours.
  return encodeURIComponent(name).replace(/^\.{1,2}$/, (dots) => dots.replaceAll('.', '%2E'));
}

/** `?a=1&b=x` of what is not empty. */
export function query(fields) {
  const kept = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return kept.length === 0 ? '' : `?${new URLSearchParams(kept)}`;
}

/** `token`: a Token. `askToken()` is called when the node wants one; it resolves to true when there is a new one. */
export class Api {
  #token;
  #askToken;
  #fetch;
  #declined = false;

  constructor({ token, askToken, send = (url, options) => fetch(url, options) }) {
    this.#token = token;
    this.#askToken = askToken;
    this.#fetch = send;
    token.onChange(() => {
      this.#declined = false;
    });
  }

  /**
   * The JSON of the answer. `body`: the request's JSON as text. `background`: nobody asked for this, so the dialog for the
   * token comes up only once for it. Throws a Problem.
   */
  async call(method, path, { body = null, background = false, timeoutMs = TIMEOUT_MS } = {}) {
    for (;;) {
      const used = this.#token.value;
      try {
        return await this.#once(method, path, body, used, timeoutMs);
      } catch (problem) {
        problem.read = method === 'GET';
        if (problem.status !== 401) throw problem;
        // Somebody set another one while this was under way.
        if (this.#token.value !== used) continue;
        if (background && this.#declined) throw problem;
        if (!(await this.#askToken(problem))) {
          this.#declined = true;
          throw problem;
        }
      }
    }
  }

  get(path, options) {
    return this.call('GET', path, options);
  }

  async #once(method, path, body, token, timeoutMs) {
    const headers = { accept: 'application/json' };
    if (body !== null) headers['content-type'] = 'application/json';
    if (token !== null) headers.authorization = `Bearer ${token}`;
    const signal = AbortSignal.timeout(timeoutMs);
    const options = { method, headers, signal, cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer' };
    if (body !== null) options.body = body;
    let response;
    let text;
    try {
      response = await this.#fetch(path, options);
      text = await response.text();
    } catch (error) {
      throw new Problem({ reason: error?.name === 'TimeoutError' ? 'TIMEOUT' : 'NETWORK', detail: '' });
    }
    const json = parse(text);
    if (!response.ok) throw problemOf(response.status, response.headers, json ?? null);
    if (json === undefined) throw new Problem({ status: response.status, reason: 'BAD_ANSWER' });
    return json;
  }
}

// Nothing is an answer too (202 without a body); what is no JSON is undefined.
function parse(text) {
  if (text.trim() === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
