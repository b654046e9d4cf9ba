// Drives Chromium through the DevTools protocol over a pipe: no WebSocket, no dependency.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CANDIDATES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--remote-debugging-pipe',
];
const CALL_MS = 30_000;

/** The browser's path, or null. */
export function findChromium() {
  return CANDIDATES.find((path) => path && existsSync(path)) ?? null;
}

/** Starts the browser: `page()` opens a page, `close()` ends it. */
export async function launch(path) {
  const profile = mkdtempSync(join(tmpdir(), 'console-profile-'));
  const child = spawn(path, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
  const [, , , input, output] = child.stdio;
  const waiting = new Map();
  const listeners = new Map();
  let last = 0;
  let rest = Buffer.alloc(0);

  output.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
      const message = JSON.parse(rest.subarray(0, end).toString());
      rest = rest.subarray(end + 1);
      if (message.id === undefined) listeners.get(message.sessionId)?.(message.method, message.params);
      else waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    }
  });
  input.on('error', () => {});

  const call = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      const id = (last += 1);
      const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), CALL_MS);
      waiting.set(id, ({ error, result }) => {
        clearTimeout(timer);
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result);
      });
      input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });

  return {
    /** Pages share nothing: no storage, no cache. */
    page: () => openPage(call, listeners),
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await call('Browser.close').catch(() => child.kill('SIGKILL'));
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

async function openPage(call, listeners) {
  const { browserContextId } = await call('Target.createBrowserContext');
  const { targetId } = await call('Target.createTarget', { url: 'about:blank', browserContextId });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  const send = (method, params) => call(method, params, sessionId);
  const problems = [];
  let loaded = () => {};
  listeners.set(sessionId, (method, params) => {
    if (method === 'Page.loadEventFired') loaded();
    if (method === 'Runtime.exceptionThrown') {
      const { exceptionDetails } = params;
      problems.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) {
      problems.push(params.args.map((argument) => argument.value ?? argument.description).join(' '));
    }
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) {
      problems.push(`${params.entry.text} ${params.entry.url ?? ''}`);
    }
  });
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);

  const page = {
    close: () => call('Target.disposeBrowserContext', { browserContextId }),
    /** What the browser complained about: exceptions, console errors and warnings, policy violations. */
    problems,
    send,
    async goto(url) {
      const done = new Promise((resolve) => (loaded = resolve));
      await send('Page.navigate', { url });
      await done;
    },
    /** Runs a function in the page and answers with its result. */
    async run(work, ...args) {
      const expression = `(${work})(...${JSON.stringify(args)})`;
      const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    /** Waits until the function, run in the page, answers with something true. */
    async until(what, work, ...args) {
      for (const end = Date.now() + 15_000; Date.now() < end; ) {
        const value = await page.run(work, ...args);
        if (value) return value;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      throw new Error(`waited in vain: ${what}`);
    },
    async look({ width, height, scheme }) {
      await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
      await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    },
    /** The languages that the browser asks for. */
    async speak(language) {
      const { userAgent } = await call('Browser.getVersion');
      await send('Emulation.setUserAgentOverride', { userAgent, acceptLanguage: language });
    },
    async key(key, code = key, modifiers = 0) {
      const keys = { Tab: 9, Enter: 13, Escape: 27, ' ': 32, ArrowLeft: 37, ArrowRight: 39 };
      const text = { Enter: '\r', ' ': ' ' }[key];
      const event = { key, code, windowsVirtualKeyCode: keys[key], text, modifiers };
      await send('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
      await send('Input.dispatchKeyEvent', { type: 'keyUp', ...event, text: undefined });
    },
    /** Types text where the focus is. */
    async type(text) {
      await send('Input.insertText', { text });
    },
    /** The whole page as PNG. */
    async screenshot() {
      const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
      return Buffer.from(data, 'base64');
    },
  };
  return page;
}
