// A window of the chat, and hands for it. Each has a browser context of its own: other people's browsers.

import { findChromium, launch } from '../../../console/test/support/cdp.mjs';

const chromium = findChromium();

/** Why tests in a browser are skipped, or false. */
export const skip = chromium === null ? 'no chromium: install the package chromium, or set CHROMIUM to its path' : false;

export const launchBrowser = () => launch(chromium);

/** Opens the page and comes in under this name. */
export async function enter(browser, url, name, { width = 1400, height = 900, scheme = 'light', language = 'en-GB' } = {}) {
  const page = await browser.page();
  await page.look({ width, height, scheme });
  await page.speak(language);
  await page.send('Emulation.setFocusEmulationEnabled', { enabled: true });
  await page.goto(url);
  await page.until('the door', () => !document.getElementById('door').hidden);
  await page.run((text) => {
    document.getElementById('door-name').value = text;
    document.getElementById('door-form').requestSubmit();
  }, name);
  await online(page);
  return page;
}

export function online(page) {
  return page.until('online', () => document.getElementById('me-state')?.classList.contains('on'));
}

/** Opens a conversation of the list. */
export function openRow(page, words) {
  return page.until(
    `the row of ${words}`,
    (text) => {
      const row = [...document.querySelectorAll('a.row')].find((node) => node.querySelector('strong')?.textContent.startsWith(text));
      row?.click();
      return row !== undefined;
    },
    words,
  );
}

/** Writes and sends, as a user does. */
export async function say(page, text) {
  await page.until('the composer', () => {
    document.getElementById('text').focus();
    return document.activeElement.id === 'text';
  });
  await page.type(text);
  await page.key('Enter');
  await page.until(`"${text}" is in the thread`, (words) => [...document.querySelectorAll('.message.mine .text')].some((node) => node.textContent === words), text);
}

/** The texts of the open conversation, in order. */
export function texts(page) {
  return page.run(() => [...document.querySelectorAll('.message .text')].map((node) => node.textContent));
}

/** Waits until an element says these words. */
export function says(page, selector, words) {
  return page.until(
    `${selector} says ${words}`,
    (wanted, text) => [...document.querySelectorAll(wanted)].some((node) => node.checkVisibility() && node.textContent.includes(text)),
    selector,
    words,
  );
}

/** Waits until the last own message is in this state: `queued`, `accepted`, `seen`. */
export function tick(page, state) {
  return page.until(`the last message is ${state}`, (wanted) => [...document.querySelectorAll('.message.mine .tick')].at(-1)?.classList.contains(wanted), state);
}

export function press(page, selector) {
  return page.until(
    selector,
    (wanted) => {
      const node = document.querySelector(wanted);
      node?.click();
      return node !== null;
    },
    selector,
  );
}

/** What sticks out at the right, or is too small for a finger. */
export function flaws(page) {
  return page.run(() => {
    const seen = [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() && !node.closest('.hidden-text, svg'));
    const wide = seen.filter((node) => node.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5);
    const small = seen.filter((node) => node.matches('button, a.row, .icon') && node.getBoundingClientRect().height < 30);
    return [...wide, ...small].map((node) => node.outerHTML.slice(0, 90));
  });
}

/** What the browser complained about, but for a server that was not there or a group that was not made yet. */
export function problems(page) {
  return page.problems.filter((text) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|404 \(Not Found\) .*\/v1\/groups\/|closed before the connection|ERR_SOCKET_NOT_CONNECTED|WebSocket connection to/.test(text));
}
