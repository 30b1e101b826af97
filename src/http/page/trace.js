// A trace: each packet of one client, or of one Topic Filter, and the way of each message through the broker.

import { Problem, readFeed, path, setRights } from './api.js';
import { fill, h, name, put } from './dom.js';
import { count, figure, instant, label } from './format.js';
import { choice, entry, field, mark, note, panel, said, stream } from './parts.js';
import { fromBase64, payload } from './payload.js';
import { clientLink } from './words.js';

const PACKETS_MAX = 500;
const MESSAGES_MAX = 100;
const STAGES_MAX = 50;
const LONG = [
  ['30', '30 s'],
  ['60', '1 min'],
  ['300', '5 min'],
  ['900', '15 min'],
];
const MOST = [
  ['100', '100'],
  ['1000', '1,000'],
  ['10000', '10,000'],
];
const LOST = 'lost';

export function showTrace({ page, signal, query, setQuery }) {
  const start = panel('What to trace', { wide: true });
  const packets = panel('Packets', { hint: `The last ${PACKETS_MAX}, newest first.` });
  const journeys = panel('Messages', { hint: 'The way of each message through the broker, newest first.' });
  const packetRows = stream('Packets', PACKETS_MAX, 'No packet yet.');
  const messageRows = stream('Messages', MESSAGES_MAX, 'No message yet.');
  const run = new Run(packetRows, messageRows);
  fill(packets.body, packetRows.element);
  fill(journeys.body, messageRows.element);
  packets.show();
  journeys.show();

  const what = choice(
    [
      ['client', 'Client Identifier'],
      ['filter', 'Topic Filter'],
    ],
    {},
    query.has('filter') ? 'filter' : 'client',
  );
  const which = entry({ required: true, value: query.get('filter') ?? query.get('client') });
  const seconds = choice(LONG, {}, '60');
  const events = choice(MOST, {}, '1000');
  const withPayload = h('input', { type: 'checkbox' });
  const state = h('p', { role: 'status' }, 'Nothing is traced.');
  const counter = h('p', { class: 'hint' });
  const begin = h('button', { class: 'first' }, 'Start');
  const stop = h('button', { type: 'button', disabled: true, click: () => run.stop() }, 'Stop');

  async function submit(event) {
    event.preventDefault();
    const asked = { [what.value]: which.value };
    setQuery(asked);
    begin.disabled = true;
    stop.disabled = false;
    const target = path(['feeds', 'trace'], {
      ...asked,
      payload: withPayload.checked ? 'true' : '',
      seconds: seconds.value,
      events: events.value,
    });
    fill(state, 'Tracing.');
    fill(state, await run.follow(target, signal, (seen) => fill(counter, count(seen, 'event'))));
    begin.disabled = false;
    stop.disabled = true;
  }

  fill(
    start.body,
    h(
      'form',
      { class: 'bar', submit },
      field('Trace', what),
      field('Name', which),
      field('At most for', seconds),
      field('At most events', events),
      h('label', { class: 'check' }, withPayload, 'with payloads (noted in the audit log)'),
      begin,
      stop,
    ),
    state,
    counter,
  );
  start.show();
  fill(
    page,
    h('h1', {}, 'Trace'),
    start.element,
    h('div', { class: 'columns' }, packets.element, journeys.element),
  );
}

/** One trace after another, and what was seen of the last. */
class Run {
  #packets;
  #messages;
  #ways = new Map();
  #count = 0;
  #shut = null;

  constructor(packets, messages) {
    this.#packets = packets;
    this.#messages = messages;
  }

  stop() {
    this.#shut?.abort();
  }

  /** Follows a trace to its end; resolves with why it ended, in words. `counted` is told the events so far. */
  async follow(target, signal, counted) {
    this.#shut = new AbortController();
    this.#packets.clear();
    this.#messages.clear();
    this.#ways.clear();
    this.#count = 0;
    counted(0);
    let why = 'The trace ended.';
    const on = (event, data) => {
      if (event === 'end') {
        why = `The trace ended: ${String(data.why).replaceAll('_', ' ')}.`;
        return;
      }
      this.#count += event === 'missed' ? 0 : 1;
      counted(this.#count);
      if (event === 'packet') this.#packets.add(() => packetOf(data));
      if (event === 'journey') this.#addStage(data);
      if (event === 'missed') note(`${count(data.missed, 'event')} came too fast to be shown.`, true);
    };
    try {
      await readFeed(target, on, { signal: AbortSignal.any([signal, this.#shut.signal]) });
    } catch (error) {
      why = this.#shut.signal.aborted ? 'The trace was stopped.' : refusedText(error);
    }
    return why;
  }

  #addStage(stage) {
    let way = this.#ways.get(stage.message);
    if (!way) {
      way = new Way(stage);
      this.#ways.set(stage.message, way);
      this.#messages.add(() => way.element);
      if (this.#ways.size > MESSAGES_MAX) this.#ways.delete(this.#ways.keys().next().value);
    }
    way.add(stage);
  }
}

/** The way of one message through the broker. */
class Way {
  #marks = h('span');
  #stages = h('ol', { class: 'journey' });
  element;

  constructor({ topic, message }) {
    this.element = h(
      'details',
      { class: 'message', open: true },
      h('summary', {}, name(topic), ' ', this.#marks, h('span', { class: 'facts' }, `message ${message}`)),
      this.#stages,
    );
  }

  add(stage) {
    if (this.#stages.childElementCount >= STAGES_MAX) return;
    const lost = stage.stage === LOST;
    if (lost) fill(this.#marks, mark('lost', 'bad'));
    const by = stage.stage === 'published' ? 'by ' : 'for ';
    const client = stage.client_id
      ? [by, name(stage.client_id, clientLink(stage.client_id))]
      : stage.group
        ? ['for the group ', name(stage.group)]
        : null;
    put(
      this.#stages,
      h(
        'li',
        { class: lost ? 'not' : null },
        instant(stage.time),
        ' ',
        h('b', {}, stage.stage),
        ' ',
        client,
        stage.packet_id ? ` (Packet Identifier ${stage.packet_id})` : '',
        stage.reason ? `: ${stage.reason}` : '',
      ),
    );
  }
}

function refusedText(error) {
  if (error.status === 403) setRights('viewer');
  if (error instanceof Problem) note(said(error), true);
  return error instanceof Problem ? said(error) : 'The trace broke off.';
}

function packetOf(packet) {
  const inward = packet.direction === 'in';
  return h(
    'details',
    { class: 'message' },
    h(
      'summary',
      {},
      instant(packet.time),
      ' ',
      mark(inward ? '→ in' : '← out', inward ? 'in' : 'out'),
      ' ',
      h('b', {}, packet.packet),
      ' ',
      packet.fields?.topic ? name(packet.fields.topic) : null,
      h('span', { class: 'facts' }, name(packet.client_id)),
    ),
    fieldsOf(packet.fields ?? {}),
  );
}

function fieldsOf(fields) {
  const { payload_base64: body, ...rest } = fields;
  return [
    h(
      'dl',
      { class: 'pairs' },
      Object.entries(rest).map(([key, value]) =>
        h(
          'div',
          {},
          h('dt', {}, label(key)),
          h('dd', {}, typeof value === 'string' ? name(value) : figure(key, value)),
        ),
      ),
    ),
    body === undefined ? null : payload(fromBase64(body), 'auto', fields.payload_bytes),
  ];
}
