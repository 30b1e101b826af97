// What clients share: Shared Subscriptions, named queues, logs of kept messages; and delayed messages.

import { every, get, path } from './api.js';
import { fill, h, name } from './dom.js';
import { figure, label, number } from './format.js';
import { pager, panel, table } from './parts.js';
import { clientLink } from './words.js';

const EVERY = 5;
const SHOWN = 10;

/** Title, place in the API, what it is, what stands in place of an empty list, fields. */
const LISTS = [
  [
    'Shared Subscriptions',
    'groups',
    'Each message goes to one member of a group.',
    'There is no group. A client makes one when it subscribes to $share/NAME/FILTER.',
    'name filter strategy queue_messages queue_bytes inflight_messages lost_messages members',
  ],
  [
    'Named queues',
    'queues',
    'Clients share a queue when they subscribe to $queue/NAME.',
    'There is none.',
    'name source strategy queue_messages queue_bytes oldest postponed_messages inflight_messages lost_messages consumers',
  ],
  [
    'Kept messages',
    'keeps',
    'Clients read a log when they subscribe to $replay/NAME/all.',
    'There is no log.',
    'name source kept_messages kept_bytes first last readers_connected unread_messages',
  ],
  ['Delayed messages', 'delayed', '', 'There is none.', 'topic due client_id user message_bytes'],
];

export function showGroups({ page, signal }) {
  fill(page, h('h1', {}, 'Groups'), LISTS.map((list) => listed(list, signal)));
}

function listed([title, at, hint, empty, fields], signal) {
  const part = panel(title, { hint });
  const rows = table({
    caption: title,
    empty,
    key: (item) => item.id ?? `${item.name}/${item.filter}`,
    columns: fields.split(' ').map(column),
  });
  const pages = pager(() => load());
  const load = () =>
    part.run(async () => {
      const list = await get(path([at], { limit: 100, cursor: pages.cursor() }), signal);
      rows.update(list.items);
      pages.shown(list.items.length, list.next, list.total);
    });
  fill(part.body, rows.element, pages.element);
  every(EVERY, load, signal);
  return part.element;
}

const column = (key) => ({
  label: label(key),
  numeric: /(messages|bytes|connected)$/.test(key),
  minor: /bytes|inflight|strategy|source|oldest|first|user/.test(key),
  words: /members|consumers/.test(key),
  value: (item) => JSON.stringify([item[key], item.lanes, item[`${key}_total`], item[`${key}_connected`]]),
  show: (item) => (SHOW[key] ?? figure)(key, item[key], item),
});

const named = (key, text) => name(text);
const SHOW = {
  name: named,
  filter: named,
  topic: named,
  user: named,
  client_id: named,
  strategy,
  members,
  consumers: members,
};

// How the members share, and how many lanes each owns where they share by lanes.
function strategy(key, word, { lanes }) {
  const owners = lanes.filter((owner) => owner.lanes > 0).slice(0, SHOWN);
  return [word, inline(owners.map((owner) => [name(owner.client_id), ` ${number(owner.lanes)}`]))];
}

function members(key, ids, item) {
  const total = item[`${key}_total`];
  const shown = ids.slice(0, SHOWN).map((id) => name(id, clientLink(id)));
  const more = total - shown.length;
  return [
    `${number(total)}, of which ${number(item[`${key}_connected`])} connected: `,
    inline(shown),
    more > 0 && ` and ${number(more)} more`,
  ];
}

const inline = (items) => items.length > 0 && h('ul', { class: 'inline' }, items.map((item) => h('li', {}, item)));
