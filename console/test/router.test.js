import assert from 'node:assert/strict';
import { test } from 'node:test';

import { address, parse } from '../js/router.js';
import { firstLanguage } from '../js/settings.js';
import { negotiate } from '../js/text.js';
import { drainPath, parseRate, progressOf } from '../js/views/nodes.js';
import { kickPath, parseMids } from '../js/views/users.js';

test('views and what is named in them', () => {
  assert.deepEqual(parse(''), { name: 'overview', parts: [] });
  assert.deepEqual(parse('#/users/7'), { name: 'users', parts: ['7'] });
  for (const strange of ['#/nowhere', '#/__proto__', '#users:7', '#/../users']) assert.equal(parse(strange).name, 'overview', strange);
  assert.deepEqual(parse('#/push/room/%E0%A4%A'), { name: 'push', parts: ['room', '%E0%A4%A'] });
  for (const room of ['live://1000', 'a/b?c#d', '群 ☄', '%2F', '<img>']) {
    assert.deepEqual(parse(address('push', 'room', room)), { name: 'push', parts: ['room', room] });
  }
});

test('the first language', () => {
  assert.equal(negotiate(['fr-FR', 'zh-Hans-CN', 'en']), 'zh');
  assert.equal(negotiate(['ZH_tw']), 'zh');
  assert.equal(negotiate(['fr', 'zhx']), 'en');
  assert.equal(negotiate([]), 'en');
  assert.equal(firstLanguage('en', ['zh-CN']), 'en', 'what was chosen holds');
  assert.equal(firstLanguage('xx', ['zh-CN']), 'zh');
  assert.equal(firstLanguage(null, ['de']), 'en');
});

test('user ids of a field', () => {
  assert.deepEqual(parseMids(' 7, 8，9、7\n10 '), ['7', '8', '9', '10']);
  assert.deepEqual(parseMids('9223372036854775807'), ['9223372036854775807']);
  for (const wrong of ['', 'x', '0', '-1', '007', '1.5', '9223372036854775808', '1;2']) assert.equal(parseMids(wrong), null, wrong);
  assert.equal(parseMids(Array.from({ length: 1001 }, (_, index) => index + 1).join()), null);
});

test('paths of what operators do', () => {
  assert.equal(drainPath('a:b/c'), '/v1/nodes/a%3Ab%2Fc:drain');
  assert.equal(kickPath('7'), '/v1/users/7/sessions');
  assert.equal(kickPath('7', { key: 'a&b', reason: 'x y' }), '/v1/users/7/sessions?key=a%26b&reason=x+y');
});

test('pace and progress of a drain', () => {
  assert.deepEqual(['1', ' 200 ', '1000000'].map(parseRate), [1, 200, 1_000_000]);
  for (const wrong of ['', '0', '-1', '1e3', '1000001', '12345678']) assert.equal(parseRate(wrong), null, wrong);
  assert.deepEqual(progressOf({ sessions_at_start: 100, sessions: 25 }), { gone: 75, start: 100, share: 0.75 });
  assert.deepEqual(progressOf({ sessions_at_start: 100, sessions: 120 }), { gone: 0, start: 120, share: 0 });
  assert.deepEqual(progressOf({ sessions_at_start: 0, sessions: 0 }), { gone: 0, start: 0, share: 1 });
  assert.deepEqual(progressOf({}), { gone: 0, start: 0, share: 1 });
});
