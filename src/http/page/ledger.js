// What was lost and refused, by reason, with what it means and what to change; and each loss as it happens.

import { every, followFeed, get, path } from './api.js';
import { fill, h } from './dom.js';
import { count, number } from './format.js';
import { lossTable, numbered, reasonTable } from './losses.js';
import { entry, field, note, panel, table, toggle } from './parts.js';

const EVERY = 5;
const RECENT_MAX = 100;
const DRAW_EVERY = 500;

export function showLedger({ page, signal, query, setQuery }) {
  const reasons = panel('Lost by reason', { wide: true });
  const rows = reasonTable('Losses by reason since the start', 'Nothing was lost since the start.');
  const none = h('p', { class: 'hint' });
  fill(reasons.body, rows.element, none);
  const classes = classPanel();
  const refused = refusedPanel();
  const recent = recentPanel(signal, query, setQuery);
  fill(
    page,
    h('h1', {}, 'Ledger'),
    reasons.element,
    recent,
    h('div', { class: 'columns' }, classes.element, refused.element),
  );

  every(
    EVERY,
    () =>
      reasons.run(async () => {
        const ledger = await get('/ledger', signal);
        const counted = ledger.reasons.filter((row) => row.count > 0).sort((a, b) => b.count - a.count);
        rows.update(counted);
        const other = ledger.reasons.length - counted.length;
        fill(none, other ? `${number(other)} other reasons: nothing lost.` : '');
        classes.update(ledger.classes ?? []);
        refused.update(
          (ledger.refused ?? []).filter((row) => row.count > 0).sort((a, b) => b.count - a.count),
        );
      }),
    signal,
  );
}

function classPanel() {
  const part = panel('Lost by class of topics');
  const rows = table({
    caption: 'Losses by class of topics',
    empty: 'No class of topics is configured, or none lost anything.',
    key: (row) => `${row.class} ${row.reason}`,
    columns: [
      { label: 'Class', value: (row) => row.class },
      { label: 'Reason', value: (row) => row.reason },
      { label: 'Messages', numeric: true, value: (row) => number(row.count) },
    ],
  });
  fill(part.body, rows.element);
  part.show();
  return {
    element: part.element,
    update: (classes) =>
      rows.update(
        classes.flatMap((each) =>
          each.reasons.filter((row) => row.count > 0).map((row) => ({ ...row, class: each.class })),
        ),
      ),
  };
}

function refusedPanel() {
  const part = panel('Refused to peers', {
    hint: 'Connections, packets and requests that were refused since the start.',
  });
  const rows = table({
    caption: 'Refusals by reason',
    empty: 'Nothing was refused.',
    key: (row) => row.reason,
    columns: [
      { label: 'Reason', value: (row) => row.reason },
      { label: 'Times', numeric: true, value: (row) => number(row.count) },
      { label: 'What it means', words: true, value: (row) => row.meaning },
    ],
  });
  fill(part.body, rows.element);
  part.show();
  return { element: part.element, update: rows.update };
}

/** Losses as they happen, newest first, of one client or topic if that is asked for. */
function recentPanel(signal, query, setQuery) {
  const part = panel('Lately', { wide: true });
  const state = h('span', { class: 'live' });
  let paused = false;
  let losses = [];
  let feed = new AbortController();
  const client = entry({ type: 'search', value: query.get('client') });
  const topic = entry({ value: query.get('topic') });
  const pause = toggle('Pause', (pressed) => {
    paused = pressed;
    draw();
  });
  const rows = lossTable('What was lost lately, newest first', 'Nothing was lost lately.');

  function draw() {
    if (!paused) rows.update(losses);
  }

  let waiting = null;
  const drawSoon = () => {
    waiting ??= setTimeout(() => {
      waiting = null;
      draw();
    }, DRAW_EVERY);
  };

  function begin() {
    feed.abort();
    feed = new AbortController();
    const asked = { client: client.value, topic: topic.value };
    setQuery(asked);
    const mine = AbortSignal.any([signal, feed.signal]);
    part.run(async () => {
      const list = await get(path(['ledger', 'recent'], { ...asked, limit: RECENT_MAX }), mine);
      losses = list.items.map(numbered);
      draw();
      const add = (event, loss) => {
        if (event === 'missed') note(`${count(loss.missed, 'loss', 'losses')} came too fast to be shown.`);
        if (event !== 'loss') return;
        losses = [numbered(loss), ...losses].slice(0, RECENT_MAX);
        drawSoon();
      };
      followFeed(path(['feeds', 'ledger'], asked), add, {
        signal: mine,
        state: (text) => fill(state, text || 'live'),
      });
    });
  }

  fill(part.head.lastChild, state, pause);
  fill(
    part.body,
    h(
      'form',
      {
        class: 'bar',
        submit: (event) => {
          event.preventDefault();
          begin();
        },
      },
      field('Client', client),
      field('Topic', topic),
      h('button', {}, 'Show'),
    ),
    rows.element,
  );
  begin();
  return part.element;
}
