import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api, query, segment } from '../js/api.js';
import { missingScope, Problem, problemOf, sentence } from '../js/problem.js';
import { mistake, Token } from '../js/token.js';

const answer = (status, body, headers = {}) => new Response(body === undefined ? null : JSON.stringify(body), { status, headers });

function setup(answers, { value = null, give = [] } = {}) {
  const sent = [];
  const asked = [];
  const token = new Token(null);
  if (value !== null) token.set(value);
  const api = new Api({
    token,
    send: async (url, options) => {
      sent.push({ url, ...options });
      const next = answers.shift();
      if (next instanceof Error) throw next;
      return next;
    },
    askToken: async (problem) => {
      asked.push(problem.status);
      const next = give.shift();
      if (next) token.set(next);
      return Boolean(next);
    },
  });
  return { api, sent, asked, token };
}

test('the token is a header, and in no address', async () => {
  const { api, sent } = setup([answer(200, { id: '1' })], { value: 'pk-1' });
  assert.deepEqual(await api.call('POST', '/v1/messages', { body: '{}' }), { id: '1' });
  const [{ url, method, headers, body, credentials, redirect }] = sent;
  assert.deepEqual([url, method, body, credentials, redirect], ['/v1/messages', 'POST', '{}', 'omit', 'error']);
  assert.equal(headers.authorization, 'Bearer pk-1');
});

test('without a token there is no header', async () => {
  const { api, sent } = setup([answer(200, {})]);
  await api.get('/v1/nodes');
  assert.equal('authorization' in sent[0].headers, false);
});

test('401 asks, and tries again with what it was given', async () => {
  const { api, sent, asked } = setup([answer(401, {}), answer(401, {}), answer(200, { fine: true })], { give: ['wrong', 'right'] });
  assert.deepEqual(await api.get('/v1/nodes'), { fine: true });
  assert.deepEqual(sent.map(({ headers }) => headers.authorization), [undefined, 'Bearer wrong', 'Bearer right']);
  assert.deepEqual(asked, [401, 401]);
});

test('who declines is not asked again by what runs in the background', async () => {
  const { api, asked, token } = setup(Array.from({ length: 6 }, () => answer(401, { reason: 'UNAUTHENTICATED' })));
  for (let call = 0; call < 3; call += 1) await assert.rejects(api.get('/x', { background: true }), { status: 401 });
  assert.equal(asked.length, 1);
  await assert.rejects(api.get('/x'), { status: 401 });
  assert.equal(asked.length, 2, 'what the user does asks');
  token.set('new');
  await assert.rejects(api.get('/x', { background: true }), { status: 401 });
  assert.equal(asked.length, 3, 'and so does a new token that is refused');
});

test('no answer, a late answer, an answer that is no JSON', async () => {
  const late = Object.assign(new Error('late'), { name: 'TimeoutError' });
  const { api } = setup([new TypeError('Failed to fetch'), late, new Response('<html>', { status: 200 }), answer(202)]);
  await assert.rejects(api.get('/x'), { status: 0, reason: 'NETWORK' });
  await assert.rejects(api.get('/x'), { status: 0, reason: 'TIMEOUT' });
  await assert.rejects(api.get('/x'), { status: 200, reason: 'BAD_ANSWER' });
  assert.equal(await api.get('/x'), null);
});

test('problem documents are read with care', async () => {
  const { api } = setup([
    answer(429, { reason: 'RATE_LIMITED', detail: 'slowly' }, { 'retry-after': '3' }),
    answer(503, { reason: 'UNAVAILABLE', retry_after_ms: 250 }),
    new Response('down', { status: 502 }),
    answer(400, { reason: 7, detail: ['x'], title: 'Bad' }),
    answer(400, 'text'),
  ]);
  await assert.rejects(api.get('/x'), { status: 429, reason: 'RATE_LIMITED', detail: 'slowly', retryAfterMs: 3000 });
  await assert.rejects(api.get('/x'), { status: 503, retryAfterMs: 250 });
  await assert.rejects(api.get('/x'), { status: 502, reason: '', retryAfterMs: null });
  await assert.rejects(api.get('/x'), { status: 400, reason: '', detail: 'Bad' });
  await assert.rejects(api.get('/x'), { status: 400, detail: '' });
});

test('a missing scope is named', () => {
  const challenge = 'Bearer realm="perseid", error="insufficient_scope", scope="push"';
  assert.equal(missingScope({ detail: '' }, challenge), 'push');
  assert.equal(missingScope({ detail: 'this needs a token with the scope admin' }, null), 'admin');
  assert.equal(missingScope({ detail: 'the "read" scope is missing' }, null), 'read');
  assert.equal(missingScope({ detail: 'a foreign origin' }, null), null);
  assert.equal(missingScope({ detail: 7 }, null), null);
  const problem = problemOf(403, new Headers({ 'www-authenticate': challenge }), { reason: 'PERMISSION_DENIED' });
  assert.equal(sentence(problem), 'Your token lacks the scope “push”. Use a token that has it.');
});

test('every status has a sentence that says what to do', () => {
  for (const status of [0, 200, 400, 401, 403, 404, 405, 408, 409, 413, 418, 429, 500, 501, 503, 504]) {
    const said = sentence(new Problem({ status }));
    assert.ok(said.length > 20 && !/[{}]/.test(said), `${status}: ${said}`);
  }
  assert.match(sentence(new Problem({ status: 429, retryAfterMs: 6200 })), /7 s/);
  assert.match(sentence(new Problem({ status: 418 })), /418/);
  const both = [true, false].map((read) => sentence(new Problem({ status: 503, read })));
  assert.ok(!/written/.test(both[0]) && /written/.test(both[1]), 'who only looked wrote nothing');
});

test('paths hold names of any kind', () => {
  assert.equal(segment('a/b?c#d:e f'), 'a%2Fb%3Fc%23d%3Ae%20f');
  assert.equal(new URL(`/v1/nodes/${segment('x/../y')}`, 'http://n').pathname, '/v1/nodes/x%2F..%2Fy');
  assert.equal(query({}), '');
  assert.equal(query({ key: '', reason: null, type: 'a&b=c' }), '?type=a%26b%3Dc');
});

test('tokens: what is none is told, storage may fail', () => {
  assert.equal(mistake(''), 'token.empty');
  for (const wrong of ['a b', 'a\nb', 'ü', 'x'.repeat(8193)]) assert.equal(mistake(wrong), 'token.malformed', wrong.slice(0, 5));
  assert.equal(mistake('pk_abc.DEF-123=='), null);
  const forbidden = { getItem: () => { throw new Error('no'); }, setItem: () => { throw new Error('no'); } };
  const token = new Token(forbidden);
  token.set('pk-1');
  assert.equal(token.value, 'pk-1');
  const stored = new Map([['perseid.token', 'bad\r\nheader: x']]);
  assert.equal(new Token({ getItem: (key) => stored.get(key) ?? null }).value, null, 'what could not be a header is not taken');
});
