// How the broker does: figures of now, and charts of the last fifteen minutes that go on live.

import { broker, followFeed, get } from './api.js';
import { chart } from './chart.js';
import { fill, h } from './dom.js';
import { bytes, count, number, span } from './format.js';
import { reasonTable } from './losses.js';
import { mark, panel } from './parts.js';
import { LEVELS, causeText, reasonBook } from './words.js';

const SPAN = 900_000;
const POINTS_MAX = 1_100;
const LOSS_LINES = 5;

export function showOverview({ page, signal }) {
  const tiles = h('div', { class: 'tiles' });
  const state = h('p', { class: 'live' });
  const head = panel('Now', { wide: true });
  const charts = makeCharts();
  const grid = panel('Last 15 minutes', { wide: true });
  const losses = lossPanel(signal);
  fill(head.body, tiles);
  fill(grid.body, h('div', { class: 'charts' }, charts.elements));
  fill(grid.head.lastChild, state);
  fill(page, h('h1', {}, 'Overview'), head.element, grid.element, losses.element);

  let points = [];
  const draw = () => {
    charts.update(points);
    losses.update(points);
    showNow();
  };
  const showNow = () => {
    if (!broker.status) return;
    fill(tiles, tilesOf(broker.status, points.at(-1)));
    head.show();
  };
  broker.addEventListener('status', showNow, { signal });
  // Each time the feed opens, the history has what came while it was closed.
  const load = () =>
    grid.run(async () => {
      points = (await get('/history', signal)).points.map(timed);
      draw();
    });
  const add = (event, point) => {
    if (event !== 'figures') return;
    points.push(timed(point));
    points = points.filter((each) => each.at > points.at(-1).at - SPAN).slice(-POINTS_MAX);
    draw();
  };
  showNow();
  load();
  followFeed('/feeds/figures', add, {
    signal,
    state: (text) => {
      fill(state, text || 'live');
      if (!text) load();
    },
  });
}

const timed = (point) => ({ ...point, at: Date.parse(point.time) });

function tilesOf(status, last) {
  const level = status.level ?? 0;
  const kind = ['good', 'warn', 'warn', 'bad'][level];
  return [
    tile('Connections', number(status.clients_connected), `of ${count(status.sessions, 'Session')}`),
    tile(
      'Messages in',
      last ? `${number(last.received_per_second)} /s` : '—',
      `${number(status.received_messages_total)} in all`,
    ),
    tile(
      'Messages out',
      last ? `${number(last.sent_per_second)} /s` : '—',
      `${number(status.sent_messages_total)} in all`,
    ),
    tile(
      'Lost',
      last ? `${number(total(last.lost_per_second))} /s` : '—',
      `${number(status.lost_messages_total)} in all`,
    ),
    tile(
      'Commit p99',
      last ? span(last.commit_p99_seconds) : '—',
      last ? `p50 ${span(last.commit_p50_seconds)}` : '',
    ),
    tile('In memory', bytes(status.message_memory_bytes), 'of messages'),
    tile('Subscriptions', number(status.subscriptions), count(status.retained_messages, 'retained message')),
    tile(
      'Level',
      mark(`${level} of 3`, kind),
      level ? causeText(status.cause) : LEVELS[0],
      level ? LEVELS[level] : '',
    ),
    status.ready === false
      ? h(
          'div',
          { class: 'tile wide' },
          h('p', {}, mark('Not ready', 'bad')),
          h('ul', {}, (status.not_ready ?? []).map((why) => h('li', {}, why))),
        )
      : null,
  ];
}

function tile(title, value, below, hint) {
  return h(
    'div',
    { class: 'tile', title: hint || null },
    h('p', { class: 'of' }, title),
    h('p', { class: 'value' }, value),
    h('p', { class: 'below' }, below),
  );
}

const total = (losses) => Object.values(losses ?? {}).reduce((sum, rate) => sum + rate, 0);

function makeCharts() {
  const rate = (value) => `${number(value)} /s`;
  const clients = chart({
    title: 'Connections',
    format: number,
    floor: 4,
    series: [{ name: 'connected', value: (point) => point.clients }],
  });
  const messages = chart({
    title: 'Messages a second',
    format: rate,
    floor: 4,
    series: [
      { name: 'in', value: (point) => point.received_per_second },
      { name: 'out', value: (point) => point.sent_per_second },
    ],
  });
  const volume = chart({
    title: 'Bytes a second',
    format: (value) => `${bytes(value)}/s`,
    scale: 1024,
    floor: 1024,
    series: [
      { name: 'in', value: (point) => point.received_bytes_per_second },
      { name: 'out', value: (point) => point.sent_bytes_per_second },
    ],
  });
  const lost = chart({ title: 'Lost a second, by reason', format: rate, floor: 4, series: [] });
  const commit = chart({
    title: 'Commit of the store',
    format: span,
    series: [
      { name: 'p50', value: (point) => point.commit_p50_seconds },
      { name: 'p99', value: (point) => point.commit_p99_seconds },
    ],
  });
  const level = chart({
    title: 'Level of overload',
    format: number,
    step: true,
    ticks: [0, 1, 2, 3],
    series: [{ name: 'level', value: (point) => point.level }],
    read: (point) => (point.level ? causeText(point.cause) : LEVELS[0]),
  });
  const plain = [clients, messages, volume, commit, level];
  return {
    elements: [clients, messages, volume, lost, commit, level].map((each) => each.element),
    update(points) {
      for (const each of plain) each.update(points);
      lost.update(points, lossLines(points));
    },
  };
}

/** A line for each reason of which most was lost, and one for the rest. */
function lossLines(points) {
  const names = lostBy(points).map(([reason]) => reason);
  const lines = names
    .slice(0, LOSS_LINES)
    .map((name) => ({ name, value: (point) => point.lost_per_second?.[name] ?? 0 }));
  const rest = names.slice(LOSS_LINES);
  if (rest.length) {
    lines.push({
      name: 'others',
      value: (point) => rest.reduce((sum, name) => sum + (point.lost_per_second?.[name] ?? 0), 0),
    });
  }
  return lines.length ? lines : [{ name: 'lost', value: () => 0 }];
}

/** What was lost in the time of `points`, by reason, most first. */
function lostBy(points) {
  const sums = new Map();
  points.forEach((point, index) => {
    const before = points[index - 1];
    const seconds = before ? Math.min((point.at - before.at) / 1000, 10) : 0;
    for (const [reason, rate] of Object.entries(point.lost_per_second ?? {})) {
      if (rate > 0) sums.set(reason, (sums.get(reason) ?? 0) + rate * seconds);
    }
  });
  return [...sums].sort((a, b) => b[1] - a[1]);
}

function lossPanel(signal) {
  const part = panel('Lost in these 15 minutes', { wide: true });
  const rows = reasonTable('Losses of the last 15 minutes by reason', 'Nothing was lost.');
  fill(part.body, rows.element, h('p', {}, h('a', { href: '#/ledger' }, 'To the ledger')));
  let book = new Map();
  part.run(async () => {
    book = await reasonBook(signal);
  });
  return {
    element: part.element,
    update(points) {
      const list = lostBy(points).map(([reason, lost]) => {
        const known = book.get(reason) ?? { meaning: '', advice: '' };
        return { reason, count: Math.round(lost), meaning: known.meaning, advice: known.advice };
      });
      rows.update(list);
    },
  };
}
