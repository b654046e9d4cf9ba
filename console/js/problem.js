// What went wrong with a request, and the sentence that says what to do about it.

import { count } from './format.js';
import { t } from './text.js';

/** A request that failed. `status` 0: there was no answer. `read`: it would have changed nothing. */
export class Problem extends Error {
  constructor({ status = 0, reason = '', detail = '', scope = null, retryAfterMs = null, read = false }) {
    super(`${status} ${reason} ${detail}`.trim());
    this.name = 'Problem';
    Object.assign(this, { status, reason, detail, scope, retryAfterMs, read });
  }
}

const text = (value) => (typeof value === 'string' ? value.slice(0, 500) : '');

/** The scope that a refusal says is missing, or null: from its challenge (RFC 6750 section 3.1), else from its words. */
export function missingScope({ detail }, challenge) {
  const told = /\bscope="?(push|read|admin)\b/.exec(challenge ?? '');
  if (told) return told[1];
  const named = /scopes?\W{1,3}(push|read|admin)\b|\b(push|read|admin)\W{1,3}scope/.exec(text(detail));
  return named ? (named[1] ?? named[2]) : null;
}

/** The problem that an answer with status 400 or more tells; `body` is its JSON, or null. */
export function problemOf(status, headers, body) {
  const fields = body !== null && typeof body === 'object' ? body : {};
  const seconds = Number(headers.get('retry-after') ?? NaN);
  const told = Number.isFinite(fields.retry_after_ms) ? fields.retry_after_ms : seconds * 1000;
  return new Problem({
    status,
    reason: text(fields.reason),
    detail: text(fields.detail) || text(fields.title),
    scope: status === 403 ? missingScope(fields, headers.get('www-authenticate')) : null,
    retryAfterMs: Number.isFinite(told) && told >= 0 ? told : null,
  });
}

const BY_STATUS = {
  400: 'error.badRequest',
  401: 'error.unauthenticated',
  404: 'error.notFound',
  405: 'error.unsupported',
  408: 'error.timeout',
  409: 'error.conflict',
  413: 'error.tooLarge',
  422: 'error.badRequest',
  501: 'error.unsupported',
  503: 'error.unavailable',
  504: 'error.unknown',
};

const BUSY = [502, 503, 504];

/** One or two sentences: what it means and what to do. */
export function sentence(problem) {
  const { status, reason, scope, retryAfterMs, read } = problem;
  if (status === 0) return t(reason === 'TIMEOUT' ? 'error.timeout' : 'error.network');
  if (status < 400) return t('error.badAnswer');
  if (status === 403) return scope === null ? t('error.denied') : t('error.scope', { scope });
  if (status === 429) return t('error.rateLimited', { seconds: count(Math.max(1, Math.ceil((retryAfterMs ?? 1000) / 1000))) });
  if (read && BUSY.includes(status)) return t('error.busy');
  return status in BY_STATUS ? t(BY_STATUS[status]) : t('error.server', { status });
}
