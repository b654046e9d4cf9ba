// Making and finding elements. Text only ever goes in as text.

/** An element; `props` are properties, or attributes where the name has a dash or is `role`. Children: nodes, strings, lists. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.includes('-') || name === 'role' || name === 'for') node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Sets text only where it changed, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const SHAPES = {
  plus: 'M12 5v14M5 12h14',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c0-3.6 2.9-6 6.5-6s6.5 2.4 6.5 6M16 4.6a3.5 3.5 0 0 1 0 6.2M18 14.4c2.1.8 3.5 2.8 3.5 5.6',
  more: 'M5 11.5v1M12 11.5v1M19 11.5v1',
  back: 'M15 5l-7 7 7 7',
  send: 'M5 12h13M12 5l7 7-7 7',
  down: 'M12 5v14M5 12l7 7 7-7',
  undo: 'M9 14l-5-5 5-5M4 9h10a6 6 0 0 1 0 12h-3',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M12 7v5l3 2',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  checks: 'M2 12.5l4.5 4.5L15 8M11 16l1 1 9.5-9.5',
  warn: 'M12 8v5M12 16.5v.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18',
  live: 'M12 13.5a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3M8 8a5.6 5.6 0 0 0 0 8M16 8a5.6 5.6 0 0 1 0 8M5 5a10 10 0 0 0 0 14M19 5a10 10 0 0 1 0 14',
};

/** A line drawing, for the eye only. */
export function icon(name, className = '') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  for (const [key, value] of Object.entries({ viewBox: '0 0 24 24', class: `shape ${className}`, 'aria-hidden': 'true' })) svg.setAttribute(key, value);
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', SHAPES[name]);
  svg.append(path);
  return svg;
}

const HUES = 8;

/** Two letters on a colour that is always the same for one number. `shape`: an icon in their place. */
export function avatar(number, name, { online = null, shape = null, small = false } = {}) {
  const hue = Number(BigInt.asUintN(32, (number * 2654435761n) >> 7n) % BigInt(HUES));
  const node = el('span', { className: `avatar hue-${hue}${small ? ' small' : ''}`, 'aria-hidden': 'true', translate: false });
  node.append(shape ? icon(shape) : initials(name));
  if (online) node.append(el('i', { className: 'dot' }));
  return node;
}

/** The first letters of the first and the last word; one sign of a script without words. */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const first = (word) => [...(word ?? '')][0] ?? '';
  const letters = words.length > 1 ? first(words[0]) + first(words.at(-1)) : first(words[0]);
  return letters.toLocaleUpperCase() || '?';
}

/** Makes the children of `list` be those of `wanted` (`[{key, make, update}]`), keeping nodes that stay, and their focus. */
export function sync(list, wanted) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let place = list.firstElementChild;
  for (const { key, make, update } of wanted) {
    let node = old.get(key);
    old.delete(key);
    if (node === undefined) {
      node = make();
      node.dataset.key = key;
    }
    update?.(node);
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
  }
  for (const node of old.values()) node.remove();
}
