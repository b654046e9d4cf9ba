// Making and finding elements. Text only ever goes in as text.

/**
 * An element; `props` are properties, or attributes where the name has a dash or is no property (`role`, `for`). `t: key` is
 * text in the page's language. Children: nodes, strings, lists of them.
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === 't') node.dataset.t = value;
    else if (name.includes('-') || name === 'role' || name === 'for') node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** The element with this id; the page's own markup has it. */
export function byId(id) {
  return document.getElementById(id);
}

/** Sets text only where it changed, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The same for an attribute. */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Data, not words: what a translator of pages must leave alone. */
export function data(text, className = '') {
  return el('span', { className, translate: false }, text);
}

/** Call before `node` goes or hides: a focus within it moves to the heading of its view, not to nowhere. */
export function rescueFocus(node) {
  if (node.contains(document.activeElement)) node.closest('.view')?.querySelector('h1')?.focus({ preventScroll: true });
}
