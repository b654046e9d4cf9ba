// What tests of the page share: a browser, a page, and hands for it.

import { findChromium, launch } from './cdp.mjs';

const chromium = findChromium();

/** Why tests in a browser are skipped, or false. */
export const skip = chromium === null ? 'no chromium: install the package chromium, or set CHROMIUM to its path' : false;

export function launchBrowser() {
  return launch(chromium);
}

/** A fresh page of `url`, in English, with numbers in it. */
export async function open(browser, url, { hash = '', language = 'en-US', width = 1400, scheme = 'light', ready = true } = {}) {
  const page = await browser.page();
  await page.look({ width, height: 900, scheme });
  await page.speak(language);
  await page.goto(`${url}/${hash}`);
  if (ready) await page.until('numbers', () => document.getElementById('node-name').textContent !== '–');
  return page;
}

/** Fills the fields of a form, as a user's input would. */
export function set(page, form, values) {
  return page.run(
    (id, fields) => {
      for (const [name, value] of Object.entries(fields)) {
        const field = document.getElementById(id).elements[name];
        field.value = value;
        const target = field instanceof RadioNodeList ? [...field].find((radio) => radio.checked) : field;
        target.dispatchEvent(new Event('input', { bubbles: true }));
        target.dispatchEvent(new Event('change', { bubbles: true }));
      }
    },
    form,
    values,
  );
}

/** Clicks the one element that the selector finds and that says `words`, if given. */
export function click(page, selector, words = null) {
  return page.until(
    `${selector} ${words ?? ''}`,
    (wanted, text) => {
      const node = [...document.querySelectorAll(wanted)].find((one) => text === null || one.textContent.includes(text));
      node?.click();
      return Boolean(node);
    },
    selector,
    words,
  );
}

/** The same by keyboard: the focus goes there, then Enter. */
export async function press(page, selector) {
  await page.until(selector, (wanted) => {
    const node = document.querySelector(wanted);
    node?.focus();
    return document.activeElement === node;
  }, selector);
  await page.key('Enter');
}

/** Goes to a view. */
export function visit(page, hash) {
  return page.run((target) => {
    location.hash = target;
  }, hash);
}

/** Waits until the element has these words. */
export function says(page, selector, words) {
  return page.until(
    `${selector} says ${words}`,
    (wanted, text) => [...document.querySelectorAll(wanted)].some((node) => node.checkVisibility() && node.textContent.includes(text)),
    selector,
    words,
  );
}

/** Waits for a row of the list of frames with all these words. */
export function row(page, ...words) {
  return page.until(
    `a row with ${words}`,
    (...wanted) => [...document.querySelectorAll('#frames .row')].map((node) => node.textContent).find((text) => wanted.every((word) => text.includes(word))),
    ...words,
  );
}

/** Other people's sessions may be on a real node: this one is told apart by its user. */
export function freshMid() {
  return String(1_000_000 + Math.floor(Math.random() * 1e9));
}

/** Connects the test client; the page must show it. */
export async function connect(page, mode, user) {
  await set(page, 'client-form', { mode, mid: user, room: `test://${user}` });
  await click(page, '#client-connect');
  await page.until('a live session', () => !document.getElementById('client-actions').disabled);
}

/** What sticks out at the right. */
export function overflow(page) {
  return page.run(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    const out = (node) => node.getBoundingClientRect().right > clientWidth + 0.5 && !node.closest('pre, .skip, .hidden-text, .cards thead');
    const over = [...document.querySelectorAll('body *')].filter(out);
    return { excess: Math.max(0, scrollWidth - clientWidth), over: over.map((node) => node.outerHTML.slice(0, 80)) };
  });
}
