// The live tail of a Topic Filter: the last messages, newest first.

import { fill, h, name, shown } from './dom.js';
import { bytes, instant, number } from './format.js';
import { choice, entry, field, mark, panel, stream, toggle } from './parts.js';
import { reasonText } from './mqtt.js';
import { FORMS, KEPT, glimpse, payload } from './payload.js';

const MESSAGES_MAX = 200;

export function tailPanel(connection, query) {
  const part = panel('Live tail', { hint: `The last ${MESSAGES_MAX} messages, newest first.` });
  const filter = entry({ required: true, value: query.get('tail') ?? '#' });
  const qos = choice([['0', '0'], ['1', '1']], {}, '0');
  const form = choice(FORMS, { change: () => tail.redraw(form.value) }, 'auto');
  const state = h('p', { role: 'status' }, 'Not subscribed.');
  const go = h('button', {}, 'Subscribe');
  const pause = toggle('Pause', (paused) => tail.pause(paused));
  const clear = h('button', { type: 'button', click: () => tail.clear() }, 'Clear');
  const counter = h('p', { class: 'hint' });
  const tail = new Tail(counter);
  let subscribed = null;

  function ended(words) {
    subscribed = null;
    fill(go, 'Subscribe');
    fill(state, words);
  }

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      const client = await connection.open();
      if (subscribed !== null) {
        await client.unsubscribe(subscribed);
        ended('Not subscribed.');
      } else {
        const { code, properties } = await client.subscribe(filter.value, Number(qos.value));
        const granted = code < 0x80;
        fill(
          state,
          granted ? `Subscribed, with QoS ${code} at most.` : `Refused: ${reasonText(code, properties)}.`,
        );
        subscribed = granted ? filter.value : null;
        fill(go, granted ? 'Unsubscribe' : 'Subscribe');
      }
    } catch (error) {
      ended(error.message);
    }
    go.disabled = false;
  }

  connection.onMessage = (message) => tail.add(message);
  connection.onClosed = (words) => subscribed !== null && ended(words);
  fill(
    part.body,
    h('form', { class: 'bar', submit }, field('Topic Filter', filter), field('QoS', qos), go),
    h('div', { class: 'bar' }, field('Payloads', form), pause, clear),
    state,
    counter,
    tail.element,
  );
  part.show();
  return part.element;
}

/** The last messages of the tail. */
class Tail {
  #counter;
  #messages = [];
  #form = 'auto';
  #paused = false;
  #count = 0;
  #left = 0;
  #rows = stream('Messages of the tail', MESSAGES_MAX, '');
  element = this.#rows.element;

  constructor(counter) {
    this.#counter = counter;
  }

  add(message) {
    this.#count += 1;
    if (this.#paused) {
      this.#left += 1;
    } else {
      const { payload: whole } = message;
      const kept = { ...message, at: Date.now(), size: whole.length, payload: whole.slice(0, KEPT) };
      this.#messages.push(kept);
      if (this.#messages.length > 2 * MESSAGES_MAX) this.#messages = this.#messages.slice(-MESSAGES_MAX);
      this.#rows.add(() => this.#row(kept));
    }
    this.#showCount();
  }

  /** Pauses or goes on. What comes during a pause is counted and not kept. */
  pause(paused) {
    this.#paused = paused;
  }

  clear() {
    this.#messages = [];
    this.#count = 0;
    this.#left = 0;
    this.#rows.clear();
    this.#showCount();
  }

  redraw(form) {
    this.#form = form;
    this.#rows.clear();
    for (const message of this.#messages) this.#rows.add(() => this.#row(message));
  }

  #showCount() {
    const left = this.#left ? `, ${number(this.#left)} of them during a pause: these are not shown` : '';
    this.#counter.textContent = this.#count ? `${number(this.#count)} received${left}.` : '';
  }

  #row(message) {
    const facts = [`QoS ${message.qos}`, bytes(message.size)].join(', ');
    const details = h(
      'details',
      {
        class: 'message',
        toggle: () => {
          if (details.childElementCount === 1) details.append(this.#whole(message));
        },
      },
      h(
        'summary',
        {},
        instant(message.at),
        ' ',
        message.retain ? mark('retained') : null,
        ' ',
        name(message.topic),
        h('span', { class: 'facts' }, facts),
        h('span', { class: 'glimpse' }, shown(glimpse(message.payload, this.#form))),
      ),
    );
    return details;
  }

  #whole({ payload: kept, size, properties }) {
    const known = [
      ['Content Type', properties.contentType],
      ['Response Topic', properties.responseTopic],
      ...(properties.userProperty ?? []),
    ].filter(([, value]) => value !== undefined);
    return h(
      'div',
      {},
      known.length
        ? h(
            'dl',
            { class: 'pairs' },
            known.map(([key, value]) => h('div', {}, h('dt', {}, name(key)), h('dd', {}, name(value)))),
          )
        : null,
      payload(kept, this.#form, size),
    );
  }
}
