// Retained messages as a tree of topic levels: those of one filter, a page at a time.

import { ask, get, path } from './api.js';
import { fill, h, name, put } from './dom.js';
import { bytes, count, moment, span } from './format.js';
import { act, entry, field, pager, panel, said } from './parts.js';
import { fromBase64, payload } from './payload.js';

const ROWS = 100;
/** A branch with fewer messages than this is open from the start, and so is one that is alone. */
const OPEN_BELOW = 12;

export function retainedPanel(signal, query, setQuery) {
  const part = panel('Retained messages');
  const tree = h('div', { class: 'tree' });
  const filter = entry({ type: 'search', required: true, value: query.get('filter') ?? '#' });
  // What is shown, which is not what stands in the field while it is typed.
  let wanted = filter.value;
  const pages = pager(() => load());
  const purge = act(
    'Delete these',
    async () => {
      const answer = await ask('DELETE', path(['retained'], { filter: wanted }));
      load();
      return `Deleted: ${count(answer.deleted_messages, 'retained message')}.`;
    },
    {
      signal,
      danger: true,
      ask: () => [
        `Delete all retained messages of ${wanted}?`,
        'Those on other pages too. It cannot be undone.',
        'Delete',
      ],
    },
  );

  function show(other) {
    wanted = other;
    filter.value = wanted;
    setQuery({ filter: wanted === '#' ? '' : wanted });
    pages.reset();
    load();
  }

  let turn = 0;
  function load() {
    turn += 1;
    const mine = turn;
    return part.run(async () => {
      const list = await get(
        path(['retained'], { filter: wanted, limit: ROWS, cursor: pages.cursor() }),
        signal,
      );
      if (mine !== turn) return;
      fill(
        tree,
        list.items.length
          ? branch(treeOf(list.items), '', { show, signal, load })
          : h('p', { class: 'empty' }, 'No message is retained here.'),
      );
      pages.shown(list.items.length, list.next, list.total);
    });
  }

  fill(part.head.lastChild, purge);
  fill(
    part.body,
    h(
      'form',
      {
        class: 'bar',
        role: 'search',
        submit: (event) => {
          event.preventDefault();
          show(filter.value || '#');
        },
      },
      field('Topic Filter', filter),
      h('button', {}, 'Show'),
      h('button', { type: 'button', click: () => show('#') }, 'All'),
      h('button', { type: 'button', click: () => show('$SYS/#') }, '$SYS'),
    ),
    tree,
    pages.element,
  );
  load();
  return part.element;
}

/** Topics as a tree of levels. A level may hold a message and have levels below it. */
function treeOf(items) {
  const root = { below: new Map(), message: null, messages: 0 };
  for (const message of items) {
    let node = root;
    for (const level of message.topic.split('/')) {
      if (!node.below.has(level)) node.below.set(level, { below: new Map(), message: null, messages: 0 });
      node = node.below.get(level);
      node.messages += 1;
    }
    node.message = message;
  }
  return root;
}

function branch(node, topic, cx) {
  const open = node.below.size === 1;
  return h(
    'ul',
    {},
    [...node.below].map(([level, below]) => h('li', {}, leafOf(level, below, topic, cx, open))),
  );
}

function leafOf(level, node, above, cx, alone) {
  // Levels with nothing but one level below them are one line with it.
  while (!node.message && node.below.size === 1) {
    const [[below, only]] = node.below;
    level += `/${below}`;
    node = only;
  }
  const topic = above + level;
  const value = node.message ? valueOf(node.message, level, cx) : null;
  if (node.below.size === 0) return value;
  const details = h(
    'details',
    { toggle: draw },
    h('summary', {}, name(level), h('span', { class: 'facts' }, count(node.messages, 'message'))),
  );
  // What is below is drawn when it is opened for the first time.
  let drawn = false;
  function draw() {
    if (drawn || !details.open) return;
    drawn = true;
    put(
      details,
      value,
      branch(node, `${topic}/`, cx),
      node.messages < OPEN_BELOW
        ? null
        : h(
            'button',
            { type: 'button', class: 'plain', click: () => cx.show(`${topic}/#`) },
            'Only this branch',
          ),
    );
  }
  details.open = alone || node.messages < OPEN_BELOW;
  draw();
  return details;
}

function valueOf(message, level, { signal, load }) {
  const body = h('div', {}, h('p', { class: 'loading' }, 'Loading…'));
  const details = h(
    'details',
    { class: 'message', toggle },
    h(
      'summary',
      {},
      name(level),
      h('span', { class: 'facts' }, `QoS ${message.qos}, ${bytes(message.payload_bytes)}`),
    ),
    body,
  );
  async function toggle() {
    if (!details.open) return;
    try {
      const list = await get(
        path(['retained'], { filter: message.topic, limit: 1, payload: 'true' }),
        signal,
      );
      fill(
        body,
        list.items.length
          ? shownValue(list.items[0])
          : h('p', { class: 'empty' }, 'It is no longer retained.'),
        drop,
      );
    } catch (error) {
      if (error.name !== 'AbortError') fill(body, factsOf(message), h('p', { class: 'hint' }, said(error)));
    }
  }
  const drop = act(
    'Delete',
    async () => {
      await ask('DELETE', path(['retained'], { filter: message.topic }));
      load();
      return ['Deleted: ', name(message.topic), '.'];
    },
    { signal, danger: true, ask: () => ['Delete this retained message?', name(message.topic), 'Delete'] },
  );
  return details;
}

function shownValue(message) {
  const kept = message.payload_base64 === undefined ? null : fromBase64(message.payload_base64);
  return [factsOf(message), kept ? payload(kept, 'auto', message.payload_bytes) : null];
}

function factsOf(message) {
  return h(
    'p',
    { class: 'hint' },
    name(message.topic),
    message.stored_at ? [', stored ', moment(message.stored_at)] : null,
    message.expires_in_seconds ? `, expires in ${span(message.expires_in_seconds)}` : null,
  );
}
