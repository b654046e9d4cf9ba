// Tables that change under the reader: rows keep their place and their focus, headers stay with their cells when a narrow
// page lays rows out as cards.

import { el, rescueFocus, setText } from '../dom.js';
import { t } from '../text.js';

/**
 * `columns`: `{key, className, make(), update(cell, row)}`; `key` are the words of the header; `make` builds what a cell
 * holds, once; `update` fills it. `id(row)`: what a row is known by. `label`: words for the whole table.
 */
export class Table {
  #columns;
  #id;
  #rows = new Map();
  #body = el('tbody', { role: 'rowgroup' });

  constructor({ label, columns, id, className = '' }) {
    this.#columns = columns;
    this.#id = id;
    // The roles are said out loud: laid out as cards, browsers forget that this is a table.
    const heads = columns.map(({ key, className: name = '' }) => el('th', { scope: 'col', role: 'columnheader', className: name }, el('span', { t: key })));
    const head = el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...heads));
    this.node = el('table', { role: 'table', className: `cards ${className}`, 'data-t-aria-label': label }, head, this.#body);
  }

  /** Rows that are known keep their nodes; new ones come, gone ones go. */
  update(rows) {
    const seen = new Set();
    let place = this.#body.firstElementChild;
    for (const row of rows) {
      const id = this.#id(row);
      if (seen.has(id)) continue;
      seen.add(id);
      const known = this.#rows.get(id) ?? this.#make(id);
      known.cells.forEach((cell, index) => this.#columns[index].update(cell, row));
      // Moving a node takes its focus away, so only what is out of place is moved.
      if (known.node === place) place = place.nextElementSibling;
      else this.#body.insertBefore(known.node, place);
    }
    for (const [id, { node }] of this.#rows) {
      if (seen.has(id)) continue;
      rescueFocus(node);
      node.remove();
      this.#rows.delete(id);
    }
  }

  relabel() {
    for (const { labels } of this.#rows.values()) this.#label(labels);
  }

  #make(id) {
    const labels = [];
    const cells = [];
    const node = el('tr', { role: 'row' });
    this.#columns.forEach(({ className = '', make }) => {
      const label = el('span', { className: 'cell-label', 'aria-hidden': 'true' });
      const cell = el('span', { className: 'cell' }, ...(make?.() ?? []));
      node.append(el('td', { role: 'cell', className }, label, cell));
      labels.push(label);
      cells.push(cell);
    });
    this.#label(labels);
    const known = { node, cells, labels };
    this.#rows.set(id, known);
    return known;
  }

  #label(labels) {
    labels.forEach((label, index) => setText(label, t(this.#columns[index].key)));
  }
}
