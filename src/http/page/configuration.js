// The configuration in force and where it comes from, listeners, store, overload; log level and reload.

import { ask, every, get } from './api.js';
import { fill, h, name } from './dom.js';
import { bytes, label, number, span } from './format.js';
import { act, attempt, choice, entry, field, figures, pairs, panel, renew, table } from './parts.js';

const EVERY = 10;
/** Of figures that say their unit. */
const UNITS = { bytes, 'bytes/s': (value) => `${bytes(value)}/s`, µs: (value) => span(value / 1e6) };
const ROWS = 100;
/** Where a value comes from that is set nowhere. */
const DEFAULT = 'built-in';
const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'trace'].map((level) => [level, level]);

export function showConfiguration({ page, signal, query, setQuery }) {
  const keys = keysPanel(signal, query, setQuery);
  const parts = [
    ['Overload', '/overload'],
    ['Listeners', '/listeners'],
    ['Store', '/store'],
  ].map(([title, target]) => {
    const part = panel(title, { wide: target !== '/overload' });
    every(
      EVERY,
      () =>
        part.run(async () => {
          const data = await get(target, signal);
          renew(part.body, data, (shown) =>
            shown.figures ? metrics(shown.figures) : figures(shown.items ?? shown),
          );
        }),
      signal,
    );
    return part.element;
  });
  fill(
    page,
    h('h1', {}, 'Configuration'),
    h('div', { class: 'columns' }, logPanel(signal), parts),
    keys.element,
  );
  keys.load();
}

/** Figures that say their unit and have a text each. */
function metrics(list) {
  return pairs(
    list.map(({ name: key, value, unit, text }) => [
      h('span', { title: text }, label(key.replace(/^store_/, ''))),
      UNITS[unit]?.(value) ?? number(value),
    ]),
  );
}

function keysPanel(signal, query, setQuery) {
  const part = panel('Values in force', { wide: true });
  const rows = table({
    caption: 'Configuration in force',
    empty: 'No key is like this.',
    key: (row) => row.key,
    columns: [
      { label: 'Key', value: (row) => row.key, show: (row) => h('code', {}, name(row.key)) },
      {
        label: 'Value',
        value: (row) => JSON.stringify(row.value),
        show: (row) => h('code', {}, name(row.value === null ? null : written(row.value))),
      },
      { label: 'Comes from', value: (row) => row.origin, show: (row) => name(row.origin) },
      {
        label: 'A change is in force',
        minor: true,
        value: (row) => (row.reload ? 'at a reload' : 'at a restart'),
      },
    ],
  });
  const more = h('p', { class: 'hint', role: 'status' });
  const search = entry({ type: 'search', value: query.get('search'), input: draw });
  const changed = h('input', { type: 'checkbox', change: draw });
  let items = [];

  function draw() {
    setQuery({ search: search.value });
    const words = search.value.toLowerCase().split(/\s+/);
    const found = items.filter((row) => {
      const text = `${row.key} ${written(row.value)} ${row.origin}`.toLowerCase();
      return words.every((word) => text.includes(word)) && (!changed.checked || row.origin !== DEFAULT);
    });
    rows.update(found.slice(0, ROWS));
    fill(more, found.length > ROWS ? `The first ${ROWS} of ${found.length}: search to see others.` : '');
  }

  const load = () =>
    part.run(async () => {
      items = (await get('/config', signal)).items;
      draw();
    });
  fill(
    part.body,
    h(
      'form',
      { class: 'bar', role: 'search', submit: (event) => event.preventDefault() },
      field('Search key, value or origin', search),
      h('label', { class: 'check' }, changed, 'only what is not the default'),
    ),
    rows.element,
    more,
  );
  return { element: part.element, load };
}

const written = (value) => (typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));

function logPanel(signal) {
  const part = panel('Log and reload');
  const level = choice(LOG_LEVELS, {
    change: () =>
      attempt(async () => {
        try {
          const answer = await ask('PUT', '/log', { body: { level: level.value } });
          return `The log level is ${answer?.level ?? level.value}, until the next start.`;
        } catch (error) {
          load();
          throw error;
        }
      }),
  });
  const said = h('ul', { 'aria-live': 'polite' });
  const reload = act(
    'Reload the configuration',
    async () => {
      const answer = await ask('POST', '/reload');
      fill(
        said,
        answer.messages.map((text) => h('li', {}, text)),
      );
      return answer.reloaded
        ? 'The configuration was read again.'
        : 'The configuration was not taken over: nothing changed.';
    },
    { signal },
  );
  const load = () =>
    part.run(async () => {
      const now = (await get('/log', signal)).level;
      if (![...level.options].some((option) => option.value === now))
        level.append(h('option', { value: now }, now));
      level.value = now;
    });
  fill(part.body, h('div', { class: 'bar' }, field('Log level', level), reload), said);
  load();
  return part.element;
}
