// Tables whose rows are used again at each update: as many elements as rows are shown, never as many as there are things.

/** More rows than this are never made, whatever is asked for. */
const ROWS_MAX = 200;

/** Where a list is longer than a page. */
export class Pager {
  offset = 0;

  constructor(prefix, limit, onTurn) {
    this.limit = limit;
    this.label = document.getElementById(`${prefix}-page`);
    this.back = document.getElementById(`${prefix}-back`);
    this.next = document.getElementById(`${prefix}-next`);
    this.back.addEventListener('click', () => this.#turn(-this.limit, onTurn));
    this.next.addEventListener('click', () => this.#turn(this.limit, onTurn));
    this.show(0, 0);
  }

  #turn(by, onTurn) {
    this.offset = Math.max(this.offset + by, 0);
    onTurn();
  }

  /** Says where we are; true if the list has become too short for it, and another page was chosen. */
  show(shown, total) {
    this.back.disabled = this.offset === 0;
    this.next.disabled = this.offset + shown >= total || shown === 0;
    const number = (n) => n.toLocaleString('en-US');
    this.label.textContent = shown ? `${number(this.offset + 1)}–${number(this.offset + shown)} of ${number(total)}` : `0 of ${number(total)}`;
    if (shown > 0 || this.offset === 0 || total === 0) return false;
    this.offset = Math.floor((total - 1) / this.limit) * this.limit;
    return true;
  }

  /** This page of a list that is here as a whole. */
  page(list) {
    if (this.offset >= list.length) this.offset = Math.max(Math.floor((list.length - 1) / this.limit) * this.limit, 0);
    const rows = list.slice(this.offset, this.offset + this.limit);
    this.show(rows.length, list.length);
    return rows;
  }
}

/**
 * `columns`: `{ label, cell(row), sort?, text?, title? }`. A cell is a text, or `{ text, title?, part?, state? }`, where
 * `part` of 0–1 is drawn as a bar behind it. `sort` is what `onSort` is told; `text` marks what is not a number.
 */
export class Table {
  #rows = [];
  #shown = [];
  #heads = [];

  constructor(id, { columns, sorted, onSort, onRow, empty = 'none' }) {
    this.element = document.getElementById(id);
    this.columns = columns;
    this.sorted = sorted;
    const head = this.element.createTHead().insertRow();
    for (const { label, sort, text, title } of columns) {
      const cell = document.createElement('th');
      cell.scope = 'col';
      if (text) cell.className = 'text';
      if (title) cell.title = title;
      if (sort) {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = label;
        button.addEventListener('click', () => {
          this.sorted = sort;
          this.#mark();
          onSort(sort);
        });
        cell.append(button);
      } else {
        cell.textContent = label;
      }
      head.append(cell);
      this.#heads.push(cell);
    }
    this.body = this.element.createTBody();
    if (onRow) {
      this.element.classList.add('rows-open');
      const open = (event) => {
        const index = this.#rows.indexOf(event.target.closest('tbody tr'));
        if (index >= 0 && this.#shown[index]) onRow(this.#shown[index]);
      };
      this.body.addEventListener('click', open);
      this.body.addEventListener('keydown', (event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        open(event);
      });
    }
    this.opens = Boolean(onRow);
    const caption = this.element.createCaption();
    caption.className = 'empty';
    caption.textContent = empty;
    this.caption = caption;
    this.#mark();
  }

  #mark() {
    this.columns.forEach(({ sort }, i) => {
      if (sort && sort === this.sorted) this.#heads[i].setAttribute('aria-sort', 'descending');
      else this.#heads[i].removeAttribute('aria-sort');
    });
  }

  show(rows) {
    this.#shown = rows.slice(0, ROWS_MAX);
    this.caption.hidden = this.#shown.length > 0;
    while (this.#rows.length < this.#shown.length) this.#rows.push(this.#row());
    while (this.#rows.length > this.#shown.length) this.#rows.pop().remove();
    this.#shown.forEach((row, i) => {
      const element = this.#rows[i];
      const kind = row.rowKind ?? '';
      if (element.dataset.kind !== kind) element.dataset.kind = kind;
      this.columns.forEach(({ cell }, j) => fill(element.cells[j], cell(row)));
    });
  }

  #row() {
    const row = this.body.insertRow();
    if (this.opens) row.tabIndex = 0;
    for (const { text } of this.columns) {
      const cell = row.insertCell();
      if (text) cell.className = 'text';
    }
    return row;
  }
}

/** Only what has changed is touched: an untouched cell costs no layout. */
function fill(element, content) {
  const { text = '', title = '', part, state = '' } = typeof content === 'object' && content !== null ? content : { text: content };
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
  if (element.title !== title) element.title = title;
  if ((element.dataset.state ?? '') !== state) element.dataset.state = state;
  const bar = part === undefined ? '' : `${Math.round(Math.min(Math.max(part, 0), 1) * 100)}%`;
  if ((element.dataset.part ?? '') !== bar) {
    element.dataset.part = bar;
    if (bar) element.style.setProperty('--part', bar);
  }
}
