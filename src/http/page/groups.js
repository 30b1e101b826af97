// Shared Subscriptions: each group, its members and what waits for it.

import { every, get, path } from './api.js';
import { fill, h, name } from './dom.js';
import { bytes, number } from './format.js';
import { pager, panel, table } from './parts.js';
import { clientLink } from './words.js';

const EVERY = 5;
const MEMBERS_SHOWN = 10;

export function showGroups({ page, signal }) {
  const part = panel('Shared Subscriptions', { hint: 'Each message goes to one member of a group.' });
  const rows = table({
    caption: 'Groups',
    empty: 'There is no group. A client makes one when it subscribes to $share/NAME/FILTER.',
    key: (group) => `${group.name}/${group.filter}`,
    columns: [
      { label: 'Group', value: (group) => group.name, show: (group) => name(group.name) },
      { label: 'Topic Filter', value: (group) => group.filter, show: (group) => name(group.filter) },
      { label: 'Queue', numeric: true, value: (group) => number(group.queue_messages) },
      { label: 'Queue bytes', numeric: true, minor: true, value: (group) => bytes(group.queue_bytes) },
      {
        label: 'In flight',
        numeric: true,
        minor: true,
        value: (group) => number(group.inflight_messages),
      },
      { label: 'Lost', numeric: true, value: (group) => number(group.lost_messages) },
      {
        label: 'Members',
        words: true,
        value: (group) => JSON.stringify([group.members, group.members_total, group.members_connected]),
        show: (group) => members(group),
      },
    ],
  });
  const pages = pager(() => load());
  const load = () =>
    part.run(async () => {
      const list = await get(path(['groups'], { limit: 100, cursor: pages.cursor() }), signal);
      rows.update(list.items);
      pages.shown(list.items.length, list.next, list.total);
    });
  fill(part.body, rows.element, pages.element);
  fill(page, h('h1', {}, 'Groups'), part.element);
  every(EVERY, load, signal);
}

function members({ members: ids, members_total: total, members_connected: connected }) {
  const shown = ids.slice(0, MEMBERS_SHOWN).map((id) => h('li', {}, name(id, clientLink(id))));
  const more = total - shown.length;
  return [
    `${number(total)}, of which ${number(connected)} connected: `,
    h('ul', { class: 'inline' }, shown),
    more > 0 ? ` and ${number(more)} more` : null,
  ];
}
