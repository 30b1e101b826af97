// What the views are made of: panels that load, tables, pages of a list, questions, notes.

import { Problem, broker, setRights } from './api.js';
import { fill, h } from './dom.js';
import { figure, label, moment, number } from './format.js';

const NOTE_TIME = 10_000;
const NOTES_MAX = 3;
const DRAW_EVERY = 250;
const NOT_ALLOWED = 'Not allowed: this token has the rights of a viewer. It takes the token of an operator.';

/**
 * A titled part of a view; `bare` shows its title to screen readers alone. `body` is its content;
 * `run(task)` loads it: the words of an error stand in place of the content while there is none, and above it
 * once there is some.
 */
export function panel(title, { actions = [], hint = '', wide = false, bare = false } = {}) {
  const state = h('div', { class: 'state', hidden: true });
  const body = h('div', { class: 'body', hidden: true });
  const wait = h('p', { class: 'loading' }, 'Loading…');
  const head = h(
    'div',
    { class: bare ? 'head bare' : 'head' },
    h('h2', {}, title),
    h('div', { class: 'actions' }, actions),
  );
  const element = h(
    'section',
    { class: wide ? 'panel wide' : 'panel', 'aria-label': title },
    head,
    hint && h('p', { class: 'hint' }, hint),
    state,
    wait,
    body,
  );
  let loaded = null;
  let last = null;
  let waits = false;

  function show() {
    wait.hidden = true;
    state.hidden = true;
    body.hidden = false;
    loaded = Date.now();
  }

  function fail(problem, again) {
    wait.hidden = true;
    state.hidden = false;
    const since = loaded ? ['Not up to date: this is from ', moment(loaded), '. '] : [];
    fill(state, h('p', {}, since, said(problem)), h('button', { type: 'button', click: again }, 'Try again'));
  }

  async function run(task) {
    last = task;
    try {
      await task();
      show();
    } catch (error) {
      if (error.name === 'AbortError') return;
      if (!(error instanceof Problem)) console.error(error);
      fail(error, () => run(task));
      if (error.status === 0) runWhenUp();
    }
  }

  /** Loads it again as soon as the broker answers. */
  function runWhenUp() {
    if (waits) return;
    waits = true;
    broker.addEventListener(
      'up',
      () => {
        waits = false;
        run(last);
      },
      { once: true },
    );
  }

  return { element, body, head, show, run };
}

/** A problem in a sentence. */
export function said(problem) {
  if (problem.status === 403) {
    return broker.rights === 'operator' ? `${problem.message}.` : `${NOT_ALLOWED} (403)`;
  }
  if (problem instanceof Problem) return problem.message.replace(/[.\s]*$/, '.');
  return `Something in this page failed: ${problem.message}`;
}

/**
 * A table of which rows keep their place in the document while their values change, so that neither focus nor
 * selection is lost. A column: `label`, `value(item)` (a plain value, compared), `show(item)` (what is put
 * into the cell, if it is not the value), `numeric`, `sort` (its name for `onSort`), `minor` (left out on
 * narrow screens).
 */
export function table({ caption, columns, key, empty, onSort, sorted }) {
  const rows = new Map();
  const heads = columns.map((column) => heading(column, onSort));
  const body = h('tbody');
  const none = h('p', { class: 'empty', hidden: true }, empty);
  const scroll = h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'quiet' }, caption), h('thead', {}, h('tr', {}, heads)), body),
  );
  const element = h('div', {}, scroll, none);
  if (sorted) sort(sorted);

  function sort({ by, order }) {
    columns.forEach((column, at) => {
      if (!column.sort) return;
      const direction = order === 'desc' ? 'descending' : 'ascending';
      heads[at].setAttribute('aria-sort', column.sort === by ? direction : 'none');
    });
  }

  function update(items) {
    const seen = new Set();
    let before = null;
    for (const item of items) {
      const id = key(item);
      if (seen.has(id)) continue;
      seen.add(id);
      const row = rows.get(id) ?? newRow(columns);
      rows.set(id, row);
      row.update(item);
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== row.element) body.insertBefore(row.element, place);
      before = row.element;
    }
    for (const [id, row] of rows) {
      if (seen.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    none.hidden = items.length > 0;
    scroll.hidden = items.length === 0;
  }

  return { element, update, sort };
}

function heading(column, onSort) {
  const inner = column.sort
    ? h('button', { type: 'button', class: 'sort', click: () => onSort(column.sort) }, column.label)
    : column.label;
  return h('th', { scope: 'col', class: cellClass(column) }, inner);
}

function newRow(columns) {
  const cells = columns.map((column, at) =>
    h(at === 0 ? 'th' : 'td', {
      scope: at === 0 ? 'row' : null,
      class: cellClass(column),
      'data-label': column.label,
    }),
  );
  const values = [];
  function update(item) {
    columns.forEach((column, at) => {
      const value = column.value(item);
      if (value === values[at] && values.length > at) return;
      values[at] = value;
      fill(cells[at], column.show ? column.show(item) : value);
    });
  }
  return { element: h('tr', {}, cells), update };
}

function cellClass(column) {
  return (
    [column.numeric && 'number', column.minor && 'minor', column.words && 'words']
      .filter(Boolean)
      .join(' ') || null
  );
}

/**
 * Steps through the pages of a list: `go()` loads the one at `cursor()`, which is '' for the first. `shown` is
 * told what came. A button that leads nowhere keeps the focus.
 */
export function pager(go) {
  let before = [];
  let at = { cursor: '', first: 1 };
  let length = 0;
  let next = null;
  const back = h('button', { type: 'button', click: () => before.length && step(before.pop()) }, 'Previous');
  const forth = h('button', { type: 'button', click: forward }, 'Next');
  const words = h('span', { role: 'status' });
  const element = h('div', { class: 'pager' }, words, back, forth);

  function forward() {
    if (!next) return;
    before.push(at);
    step({ cursor: next, first: at.first + length });
  }

  function step(to) {
    at = to;
    next = null;
    go();
  }

  function shown(count, following, total) {
    length = count;
    next = following;
    off(back, before.length === 0);
    off(forth, !next);
    const rows = count ? `${number(at.first)} to ${number(at.first + count - 1)}` : 'none';
    const of = total === undefined || total === null ? '' : ` of ${number(total)}`;
    const text = count || total ? rows + of : '';
    if (words.textContent !== text) words.textContent = text;
    element.hidden = count === 0 && before.length === 0;
  }

  function reset() {
    before = [];
    at = { cursor: '', first: 1 };
  }

  return { element, shown, reset, cursor: () => at.cursor };
}

/** Marks a button as one that does nothing now. */
function off(button, is) {
  if (is) button.setAttribute('aria-disabled', 'true');
  else button.removeAttribute('aria-disabled');
}

/** Names and their values; a value is text or nodes. */
export function pairs(list) {
  return h(
    'dl',
    { class: 'pairs' },
    list.map(([key, value]) => h('div', {}, h('dt', {}, key), h('dd', {}, value))),
  );
}

/** Any figures of the API: plain values as pairs, what is in them under its name, lists as tables. */
export function figures(data, level = 3) {
  if (Array.isArray(data)) return listed('list', data);
  const plain = [];
  const rest = [];
  for (const [key, value] of Object.entries(data)) {
    if (Array.isArray(value)) rest.push([key, listed(key, value)]);
    else if (value !== null && typeof value === 'object') rest.push([key, figures(value, level + 1)]);
    else plain.push([label(key), figure(key, value)]);
  }
  const deep = rest.map(([key, nodes]) =>
    h('div', { class: 'inner' }, h(`h${level}`, {}, label(key)), nodes),
  );
  return [plain.length ? pairs(plain) : null, deep];
}

function listed(key, items) {
  if (items.length === 0) return h('p', { class: 'empty' }, 'none');
  if (typeof items[0] !== 'object' || items[0] === null) return h('p', {}, items.join(', '));
  // One column for a figure that some items have in bytes and others in seconds.
  const columns = [...new Set(items.flatMap(Object.keys).map(label))].map((title) => {
    const own = (item) => Object.keys(item).find((each) => label(each) === title) ?? '';
    return {
      label: title,
      numeric: items.some((item) => typeof item[own(item)] === 'number'),
      value: (item) => JSON.stringify(item[own(item)]),
      show: (item) => figure(own(item), item[own(item)]),
    };
  });
  const made = table({ caption: label(key), columns, key: JSON.stringify, empty: 'none' });
  made.update(items);
  return made.element;
}

/** Asks a yes-or-no question; the safe answer has the focus. */
export function confirmed(question, detail, yes) {
  return new Promise((done) => {
    const dialog = h(
      'dialog',
      {
        class: 'question',
        'aria-labelledby': 'question',
        close: () => {
          dialog.remove();
          done(dialog.returnValue === 'yes');
        },
      },
      h(
        'form',
        { method: 'dialog' },
        h('h2', { id: 'question' }, question),
        h('p', {}, detail),
        h(
          'div',
          { class: 'actions' },
          h('button', { value: 'no', autofocus: true }, 'Cancel'),
          h('button', { value: 'yes', class: 'danger' }, yes),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says what happened, in a corner of the page and to screen readers. Errors stay until they are closed. */
export function note(text, bad = false) {
  const place = document.getElementById('notes');
  const close = h(
    'button',
    { type: 'button', class: 'plain', 'aria-label': 'Close', click: () => element.remove() },
    '×',
  );
  const element = h('div', { class: bad ? 'note bad' : 'note' }, h('p', {}, text), close);
  place.append(element);
  while (place.children.length > NOTES_MAX) place.firstChild.remove();
  if (!bad) setTimeout(() => element.remove(), NOTE_TIME);
}

/**
 * A button that changes something, so that it takes an operator. `run` does it, after the question `ask`
 * (`[question, detail, yes]`) if there is one, and returns what to say of it.
 */
export function act(text, run, { ask, danger = false, signal } = {}) {
  const button = h('button', { type: 'button', class: danger ? 'danger' : null, click: press }, text);

  function allow() {
    const refused = broker.rights === 'viewer';
    off(button, refused);
    button.title = refused ? NOT_ALLOWED : '';
  }

  async function press() {
    if (broker.rights === 'viewer') {
      note(NOT_ALLOWED, true);
      return;
    }
    if (ask && !(await confirmed(...ask()))) return;
    button.disabled = true;
    await attempt(run);
    button.disabled = false;
  }

  broker.addEventListener('rights', allow, { signal });
  allow();
  return button;
}

/** Runs a change and says what came of it. */
export async function attempt(run) {
  try {
    const words = await run();
    if (words) note(words);
  } catch (error) {
    if (error.name === 'AbortError') return;
    if (error.status === 403) setRights('viewer');
    note(said(error), true);
  }
}

/** A field with its name. `control` is an input, a select or a textarea. */
export function field(text, control, hint) {
  return h('label', { class: 'field' }, h('span', {}, text), control, hint && h('small', {}, hint));
}

/** An input for names of MQTT: nothing is completed or corrected in it. */
export function entry(properties = {}) {
  return h('input', { autocomplete: 'off', spellcheck: 'false', ...properties });
}

/** A panel with a question about a topic, whose answer stands below it: `load(topic)` resolves with nodes. */
export function topicPanel(title, button, load) {
  const made = panel(title);
  const topic = entry({ name: 'topic', required: true, placeholder: 'site/4/pump/state' });
  const answer = h('div', { 'aria-live': 'polite' });
  const submit = async (event) => {
    event.preventDefault();
    try {
      fill(answer, await load(topic.value));
    } catch (error) {
      if (error.name !== 'AbortError') fill(answer, h('p', { class: 'wrong' }, said(error)));
    }
  };
  fill(
    made.body,
    h('form', { class: 'bar', submit }, field('Topic', topic), h('button', {}, button)),
    answer,
  );
  made.show();
  return made;
}

/** A choice: `options` are `[value, words]`. */
export function choice(options, properties = {}, chosen = '') {
  const select = h(
    'select',
    properties,
    options.map(([value, words]) => h('option', { value }, words)),
  );
  select.value = chosen;
  return select;
}

/** A button that is pressed or not; `run` is told which. */
export function toggle(text, run) {
  const press = () => {
    const pressed = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(pressed));
    run(pressed);
  };
  const button = h('button', { type: 'button', 'aria-pressed': 'false', click: press }, text);
  return button;
}

/** A word with a colour: `good`, `bad`, `warn` or none. The word says it too. */
export function mark(text, kind = '') {
  return h('span', { class: `mark ${kind}` }, text);
}

/**
 * Rows that come in a stream: the last `max`, newest first, put in a few times a second however many come. Rows
 * that are there already stay as they are, with the focus in them. `add(make)` makes a row when it is its turn.
 */
export function stream(title, max, empty) {
  const list = h('div', { class: 'log', tabindex: '0', role: 'region', 'aria-label': title, hidden: true });
  const none = h('p', { class: 'empty' }, empty);
  let coming = [];
  let timer = null;

  function draw() {
    timer = null;
    list.prepend(
      ...coming
        .slice(-max)
        .reverse()
        .map((make) => make()),
    );
    coming = [];
    while (list.childElementCount > max) list.lastChild.remove();
    show();
  }

  function show() {
    list.hidden = list.childElementCount === 0;
    none.hidden = !list.hidden;
  }

  function add(make) {
    coming.push(make);
    if (coming.length > 2 * max) coming = coming.slice(-max);
    timer ??= setTimeout(draw, DRAW_EVERY);
  }

  function clear() {
    coming = [];
    list.replaceChildren();
    show();
  }

  return { element: h('div', {}, list, none), add, clear };
}

const drawn = new WeakMap();

/** Replaces the children of `element` only if `data` differs from what it was drawn from before. */
export function renew(element, data, make) {
  const text = JSON.stringify(data);
  if (drawn.get(element) === text) return;
  drawn.set(element, text);
  fill(element, make(data));
}
