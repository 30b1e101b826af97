// One client: its terms, what waits for it and why, what it lost, and what an operator may do to it.

import { ask, every, get, path } from './api.js';
import { fill, h, name, plain, prose } from './dom.js';
import { bytes, count, figure, instant, label, moment, number, span } from './format.js';
import { lossTable, numbered, reasonTable } from './losses.js';
import { act, figures, mark, pairs, panel, renew, table, topicPanel } from './parts.js';
import { fromBase64, payload } from './payload.js';
import { stateMark } from './clients.js';
import { reasonBook } from './words.js';

const EVERY = 2;
const TERMS = (
  'user address listener session_ends certificate version connected connected_since clean_start session_expiry_seconds ' +
  'keep_alive_seconds receive_maximum maximum_packet_bytes topic_alias_maximum will'
).split(' ');
const WAITS = ['class', 'window', 'pace'];
const QUEUE_ROWS = 50;
const RECENT_ROWS = 20;

export function showClient(cx, id) {
  const { page, signal } = cx;
  const title = h('h1', {}, name(id));
  if (id === '.' || id === '..') {
    const words = 'No address can name this Client Identifier. On the command line, ';
    fill(page, title, h('p', {}, words, h('code', {}, `sluice ctl client ${id}`), ' shows it.'));
    return;
  }
  document.title = `${plain(id.slice(0, 60))} – Sluice`;
  const about = panel('State', { wide: true, actions: buttons(id, signal) });
  const terms = h('div');
  const waits = h('div');
  const draw = {
    terms: card('Connection and terms', terms),
    waits: card('Window and pace', waits),
    queue: queuePanel(id, signal),
    why: topicPanel('Why does a topic not arrive?', 'Explain', async (topic) =>
      whyOf(await get(path(['why'], { client: id, topic }), signal)),
    ),
    subscriptions: subscriptionsPanel(),
    lost: lostPanel(id, signal),
  };
  const parts = Object.values(draw).map((part) => part.element);
  const cards = h('div', { class: 'columns', hidden: true }, parts);
  const trail = h('p', { class: 'trail' }, h('a', { href: '#/clients' }, 'Clients'));
  fill(page, trail, title, about.element, cards);

  let before = null;
  every(
    EVERY,
    () =>
      about.run(async () => {
        const client = await get(path(['clients', id]), signal);
        cards.hidden = false;
        client.rates = rates(before, client);
        before = client;
        renew(about.body, client, stateOf);
        renew(terms, some(client, TERMS), termsOf);
        renew(waits, some(client, WAITS), waitsOf);
        for (const each of Object.values(draw)) each.update?.(client);
      }),
    signal,
  );
}

/** Some of the figures of a client: what is drawn from them is drawn anew only if one of them has changed. */
const some = (client, names) => Object.fromEntries(names.map((each) => [each, client[each]]));

/** Messages a second between two looks at a client. */
function rates(before, client) {
  const now = performance.now();
  const seconds = before ? (now - before.rates.at) / 1000 : 0;
  const rate = (key) => (seconds ? Math.max(0, client[key] - before[key]) / seconds : null);
  return { at: now, routed: rate('routed_messages'), delivered: rate('delivered_messages') };
}

function card(title, body) {
  const part = panel(title);
  fill(part.body, body);
  part.show();
  return { element: part.element };
}

function buttons(id, signal) {
  const at = (...rest) => path(['clients', id, ...rest]);
  const sure = (...words) => ({ signal, danger: true, ask: () => words });
  return [
    h('a', { class: 'button', href: `#/trace?client=${encodeURIComponent(id)}` }, 'Trace'),
    act(
      'Disconnect',
      async () => {
        await ask('DELETE', at('connection'));
        return ['Disconnected: ', name(id), '. It may come back.'];
      },
      sure(
        'Disconnect this client?',
        'It is sent DISCONNECT with Reason Code 0x98 (Administrative action), and its Will is published. ' +
          'A Session that lasts stays, with what waits in it. The client may connect again.',
        'Disconnect',
      ),
    ),
    act(
      'End session',
      async () => {
        await ask('DELETE', at());
        location.hash = '#/clients';
        return ['The Session of ', name(id), ' has ended.'];
      },
      sure(
        'End the Session of this client?',
        'It is disconnected. Its subscriptions and all messages that wait for it are lost; each is counted in ' +
          'the ledger.',
        'End session',
      ),
    ),
  ];
}

function stateOf(client) {
  return [
    h('p', { class: 'verdict' }, stateMark(client.connected), ' ', diagnosis(client)),
    client.not_read ? h('p', {}, `What it sends is not read now: ${client.not_read}.`) : null,
    pairs([
      ['Queue', `${count(client.queue_messages, 'message')}, ${bytes(client.queue_bytes)}`],
      ['Oldest waits for', span(client.oldest_queued_seconds)],
      ['In flight', count(client.inflight_messages, 'message')],
      ['Lost', count(client.lost_messages, 'message')],
      ['Routed to it', number(client.routed_messages) + perSecond(client.rates.routed)],
      ['Delivered to it', number(client.delivered_messages) + perSecond(client.rates.delivered)],
    ]),
  ];
}

const perSecond = (rate) => (rate === null ? '' : `, ${number(rate)} /s`);

/** Why messages wait for a client, in a sentence. */
function diagnosis(client) {
  const window = client.window ?? {};
  const full = window.size > 0 && window.used >= window.size;
  if (client.queue_messages === 0 && !full) return 'Nothing waits for it.';
  if (!client.connected) {
    return `It is not connected: ${count(client.queue_messages, 'message')} wait until it comes back or its Session expires.`;
  }
  if (full) {
    return (
      `Its window is full: ${number(window.used)} of ${number(window.size)} messages are in flight, and it ` +
      'acknowledges none of them. Nothing more is sent until it does. Look whether the client hangs; ' +
      'disconnected, it can begin anew.'
    );
  }
  if (client.pace?.waits) return 'Its messages are shaped: they wait for the rate of its class.';
  return 'Messages wait for it, its window has room: they are on their way, or its connection takes nothing.';
}

/** When a Session ends, seen from the end of its connection. */
function expiry(seconds) {
  if (seconds === null) return 'never';
  return seconds ? `${span(seconds)} after the connection` : 'with the connection';
}

function termsOf(client) {
  const will = client.will;
  return pairs([
    ['User', name(client.user)],
    ['Address', name(client.address)],
    ['Listener', name(client.listener)],
    ['Certificate', name(client.certificate)],
    ['MQTT', client.version ?? '—'],
    ['Connected', client.connected ? moment(client.connected_since) : 'no'],
    ['Clean Start', figure('', client.clean_start)],
    [
      'Session ends',
      client.session_ends ? moment(client.session_ends) : expiry(client.session_expiry_seconds),
    ],
    ['Keep Alive', client.keep_alive_seconds ? span(client.keep_alive_seconds) : 'off'],
    ['Receive Maximum', number(client.receive_maximum)],
    ['Maximum Packet Size', client.maximum_packet_bytes ? bytes(client.maximum_packet_bytes) : 'no limit'],
    ['Topic Alias Maximum', number(client.topic_alias_maximum)],
    [
      'Will',
      will
        ? [
            name(will.topic),
            `, QoS ${will.qos}${will.retain ? ', retained' : ''}, ${bytes(will.payload_bytes)}` +
              (will.delay_seconds ? `, after ${span(will.delay_seconds)}` : ''),
          ]
        : 'none',
    ],
  ]);
}

function waitsOf(client) {
  const { used = 0, size = 0 } = client.window ?? {};
  const meter = h('meter', {
    min: 0,
    max: Math.max(size, 1),
    value: used,
    high: size * 0.9,
    optimum: 0,
    'aria-label': 'Window',
  });
  const pace = client.pace ?? {};
  return [
    h('p', { class: 'window' }, meter, `${number(used)} of ${number(size)} in flight`),
    pairs([['Class', client.class || '—']]),
    Object.keys(pace).length ? figures({ pace }) : h('p', { class: 'hint' }, 'Its messages are not shaped.'),
  ];
}

function queuePanel(id, signal) {
  const part = panel('Queue');
  const rows = h('div');
  const has = h('p');
  const look = act(
    'Look into',
    async () => {
      const list = await get(path(['clients', id, 'queue'], { limit: QUEUE_ROWS, payload: 'true' }), signal);
      fill(
        rows,
        list.items.length ? list.items.map(queued) : h('p', { class: 'empty' }, 'Nothing waits.'),
        list.next ? h('p', { class: 'hint' }, `The first ${QUEUE_ROWS} of them.`) : null,
      );
      return '';
    },
    { signal },
  );
  const purge = act(
    'Purge',
    async () => {
      const answer = await ask('DELETE', path(['clients', id, 'queue']));
      fill(rows);
      return `Purged: ${count(answer.purged_messages, 'message')}.`;
    },
    {
      signal,
      danger: true,
      ask: () => [
        'Purge the queue of this client?',
        'All messages that wait for it are lost; each is counted in the ledger.',
        'Purge',
      ],
    },
  );
  fill(part.head.lastChild, look, purge);
  fill(part.body, has, h('p', { class: 'hint' }, 'To look into it is noted in the audit log.'), rows);
  part.show();
  return {
    element: part.element,
    update: (client) =>
      renew(
        has,
        [client.queue_messages, client.queue_bytes, client.oldest_queued_seconds],
        () =>
          `${count(client.queue_messages, 'message')}, ${bytes(client.queue_bytes)}` +
          (client.queue_messages ? `; the oldest waits for ${span(client.oldest_queued_seconds)}` : ''),
      ),
  };
}

function queued(message) {
  const kept = message.payload_base64 === undefined ? null : fromBase64(message.payload_base64);
  const facts = [
    `QoS ${message.qos}`,
    bytes(message.payload_bytes),
    message.retain && 'retained',
    message.expires_in_seconds !== undefined &&
      message.expires_in_seconds !== null &&
      `expires in ${span(message.expires_in_seconds)}`,
  ]
    .filter(Boolean)
    .join(', ');
  return h(
    'details',
    { class: 'message' },
    h(
      'summary',
      {},
      mark(message.state === 'inflight' ? 'in flight' : 'queued'),
      ' ',
      name(message.topic),
      h('span', { class: 'facts' }, facts),
    ),
    message.publisher ? h('p', {}, 'Published by ', name(message.publisher)) : null,
    kept ? payload(kept, 'auto', message.payload_bytes) : null,
  );
}

function subscriptionsPanel() {
  const part = panel('Subscriptions', { wide: true });
  const rows = table({
    caption: 'Subscriptions',
    empty: 'It is subscribed to nothing.',
    key: (each) => each.filter,
    columns: [
      { label: 'Topic Filter', value: (each) => each.filter, show: (each) => name(each.filter) },
      { label: 'QoS', numeric: true, value: (each) => each.qos },
      { label: 'Options', value: options },
      { label: 'Identifier', numeric: true, minor: true, value: (each) => each.id ?? '—' },
    ],
  });
  const more = h('p', { class: 'hint' });
  fill(part.body, rows.element, more);
  part.show();
  return {
    element: part.element,
    update(client) {
      const all = client.subscriptions ?? [];
      rows.update(all.slice(0, 100));
      fill(
        more,
        client.subscriptions_total > 100 ? `The first 100 of ${number(client.subscriptions_total)}.` : '',
      );
    },
  };
}

function options(subscription) {
  const words = [
    subscription.no_local && 'No Local',
    subscription.retain_as_published && 'Retain As Published',
    ['', 'retained if new', 'no retained'][subscription.retain_handling ?? 0],
  ];
  return words.filter(Boolean).join(', ') || '—';
}

function lostPanel(id, signal) {
  const part = panel('What it lost', { wide: true });
  const rows = reasonTable('What this client lost, by reason', 'It lost nothing.');
  const recent = lossTable('What it lost lately', 'Nothing lately.', true);
  fill(part.body, rows.element, h('h3', {}, 'Lately'), recent.element);
  let lost = null;
  return {
    element: part.element,
    update: (client) =>
      part.run(async () => {
        const book = await reasonBook(signal);
        const counts = Object.entries(client.ledger ?? {}).filter(([, times]) => times > 0);
        rows.update(counts.map(([reason, times]) => ({ ...book.get(reason), reason, count: times })));
        if (lost === client.lost_messages) return;
        const list = await get(path(['ledger', 'recent'], { client: id, limit: RECENT_ROWS }), signal);
        recent.update(list.items.map(numbered));
        lost = client.lost_messages;
      }),
  };
}

const VERDICTS = {
  would_arrive: ['It would arrive.', 'good'],
  would_not_arrive: ['It would not arrive.', 'bad'],
  would_wait: ['It would wait.', 'warn'],
};

function whyOf(why) {
  const [words, kind] = VERDICTS[why.verdict] ?? [why.verdict, ''];
  const losses = why.recent_losses ?? [];
  return [
    h('p', { class: 'verdict' }, mark(words, kind), ' ', prose(why.explanation)),
    why.advice ? h('p', {}, h('b', {}, 'What to change: '), prose(why.advice)) : null,
    h(
      'ol',
      { class: 'steps' },
      (why.steps ?? []).map((step) =>
        h(
          'li',
          { class: step.ok ? 'ok' : 'not' },
          h('span', { class: 'quiet' }, step.ok ? 'yes: ' : 'no: '),
          h('b', {}, label(step.step)),
          ' ',
          prose(step.text),
        ),
      ),
    ),
    losses.length
      ? [
          h('h3', {}, 'What it lost of this topic lately'),
          h(
            'ul',
            {},
            losses.map((loss) =>
              h('li', {}, instant(loss.time), ` ${count(loss.count, 'message')}: ${loss.reason}`),
            ),
          ),
        ]
      : null,
  ];
}
