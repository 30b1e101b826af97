// Topics: the tree of retained messages; a live tail and a publish form, both through MQTT over WebSocket.

import { get, path } from './api.js';
import { fill, h, name } from './dom.js';
import { mark, panel, table, topicPanel } from './parts.js';
import { clientLink } from './words.js';
import { retainedPanel } from './retained.js';
import { Connection } from './connection.js';
import { tailPanel } from './tail.js';
import { publishPanel } from './publish.js';

export function showTopics({ page, signal, query, setQuery }) {
  const connection = new Connection(signal);
  const login = panel('Connection of this page', {
    hint: 'Tail and publish are an MQTT client of their own: the broker treats them as any other client.',
  });
  fill(login.body, connection.form);
  login.show();
  const tail = tailPanel(connection, query);
  fill(
    page,
    h('h1', {}, 'Topics'),
    h(
      'div',
      { class: 'columns' },
      h('div', { class: 'column' }, retainedPanel(signal, query, setQuery), receiversPanel(signal)),
      h('div', { class: 'column' }, tail, publishPanel(connection), login.element),
    ),
  );
}

/** Who would get a message of a topic, and by which subscription. */
function receiversPanel(signal) {
  const rows = table({
    caption: 'Receivers of the topic',
    empty: 'Nobody.',
    key: (each) => JSON.stringify([each.client_id, each.group, each.filter]),
    columns: [
      {
        label: 'Client or group',
        value: (each) => each.client_id ?? each.group,
        show: (each) =>
          each.client_id ? name(each.client_id, clientLink(each.client_id)) : name(each.group),
      },
      { label: 'Topic Filter', value: (each) => each.filter, show: (each) => name(each.filter) },
      { label: 'QoS', numeric: true, value: (each) => each.qos },
      { label: 'State', value: receiverState, show: (each) => mark(receiverState(each)) },
    ],
  });
  return topicPanel('Who receives a topic?', 'Show', async (topic) => {
    const list = await get(path(['receivers'], { topic, limit: 100 }), signal);
    rows.update(list.items);
    return [rows.element, list.next ? h('p', { class: 'hint' }, 'The first 100.') : null];
  }).element;
}

function receiverState({ permitted, connected }) {
  if (permitted === false) return 'not permitted';
  return connected === false ? 'away' : 'gets it';
}
