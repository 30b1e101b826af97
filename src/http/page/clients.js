// All clients: searched, sorted, a page at a time.

import { every, get, path } from './api.js';
import { fill, h, name } from './dom.js';
import { bytes, number } from './format.js';
import { choice, entry, field, mark, pager, panel, table } from './parts.js';
import { clientLink } from './words.js';

const EVERY = 5;
const TYPING = 300;
const ROWS = 100;

export function showClients({ page, signal, query, setQuery }) {
  const asked = {
    search: query.get('search') ?? '',
    connected: query.get('connected') ?? '',
    sort: query.get('sort') ?? 'client_id',
    order: query.get('order') ?? 'asc',
  };
  const part = panel('List of clients', { bare: true });
  const pages = pager(() => load());
  const rows = clientTable(asked, (by) => {
    // What is large is of interest first, but of names.
    const first = by === 'client_id' ? 'asc' : 'desc';
    const other = asked.order === 'asc' ? 'desc' : 'asc';
    change({ order: asked.sort === by ? other : first, sort: by });
  });

  let typed = null;
  const search = entry({
    type: 'search',
    input: () => {
      clearTimeout(typed);
      typed = setTimeout(() => change({ search: search.value }), TYPING);
    },
  });
  search.value = asked.search;
  const connected = choice(
    [
      ['', 'all'],
      ['true', 'connected'],
      ['false', 'not connected'],
    ],
    { change: () => change({ connected: connected.value }) },
    asked.connected,
  );
  fill(part.body, rows.element, pages.element);
  fill(
    page,
    h('h1', {}, 'Clients'),
    h(
      'form',
      { class: 'bar', role: 'search', submit: (event) => event.preventDefault() },
      field('Search client or user', search),
      field('Show', connected),
    ),
    part.element,
  );

  function change(to) {
    Object.assign(asked, to);
    setQuery(asked);
    rows.sort({ by: asked.sort, order: asked.order });
    pages.reset();
    load();
  }

  // Of answers that overtake each other only the one asked for last is shown.
  let turn = 0;
  function load() {
    turn += 1;
    const mine = turn;
    return part.run(async () => {
      const list = await get(path(['clients'], { ...asked, limit: ROWS, cursor: pages.cursor() }), signal);
      if (mine !== turn) return;
      rows.update(list.items);
      pages.shown(list.items.length, list.next, list.total);
    });
  }

  every(EVERY, load, signal);
}

function clientTable(asked, onSort) {
  return table({
    caption: 'Clients',
    empty: 'No client is like this.',
    key: (client) => client.client_id,
    onSort,
    sorted: { by: asked.sort, order: asked.order },
    columns: [
      {
        label: 'Client',
        sort: 'client_id',
        value: (client) => client.client_id,
        show: (client) => name(client.client_id, clientLink(client.client_id)),
      },
      { label: 'State', value: (client) => client.connected, show: (client) => stateMark(client.connected) },
      {
        label: 'Queue',
        sort: 'queue_messages',
        numeric: true,
        value: (client) => number(client.queue_messages),
      },
      { label: 'Queue bytes', numeric: true, minor: true, value: (client) => bytes(client.queue_bytes) },
      {
        label: 'In flight',
        sort: 'inflight_messages',
        numeric: true,
        minor: true,
        value: (client) => number(client.inflight_messages),
      },
      {
        label: 'Lost',
        sort: 'lost_messages',
        numeric: true,
        value: (client) => number(client.lost_messages),
      },
      { label: 'Routed', numeric: true, minor: true, value: (client) => number(client.routed_messages) },
      {
        label: 'Delivered',
        numeric: true,
        minor: true,
        value: (client) => number(client.delivered_messages),
      },
      { label: 'User', minor: true, value: (client) => client.user, show: (client) => name(client.user) },
      {
        label: 'Address',
        minor: true,
        value: (client) => client.address,
        show: (client) => name(client.address),
      },
      {
        label: 'Listener',
        minor: true,
        value: (client) => client.listener,
        show: (client) => name(client.listener),
      },
      { label: 'Class', minor: true, value: (client) => client.class || '—' },
    ],
  });
}

/** Connected or not, in a word with a colour. */
export const stateMark = (connected) => (connected ? mark('connected', 'good') : mark('away'));
