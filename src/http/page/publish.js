// Publishes a message as an MQTT client, and says what the broker answers.

import { fill, h, name } from './dom.js';
import { choice, entry, field, panel } from './parts.js';
import { reasonText } from './mqtt.js';

const encoder = new TextEncoder();

export function publishPanel(connection) {
  const part = panel('Publish');
  const topic = entry({ required: true, placeholder: 'hello/world' });
  const text = h('textarea', { rows: '3', spellcheck: 'false' });
  const qos = choice([['0', '0'], ['1', '1']], {}, '1');
  const retain = h('input', { type: 'checkbox' });
  const state = h('p', { role: 'status' });
  const go = h('button', {}, 'Publish');

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    fill(state, 'Sending…');
    try {
      const client = await connection.open();
      const options = { qos: Number(qos.value), retain: retain.checked };
      const answer = await client.publish(topic.value, encoder.encode(text.value), options);
      fill(
        state,
        name(topic.value),
        answer ? `: ${reasonText(answer.code, answer.properties)}.` : ': sent. QoS 0 has no answer.',
      );
    } catch (error) {
      fill(state, error.message);
    }
    go.disabled = false;
  }

  fill(
    part.body,
    h(
      'form',
      { class: 'stack', submit },
      field('Topic', topic),
      field('Payload', text),
      h('div', { class: 'bar' }, field('QoS', qos), h('label', { class: 'check' }, retain, 'retained'), go),
    ),
    state,
  );
  part.show();
  return part.element;
}
