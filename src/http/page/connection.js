// The MQTT connection that the tail and the publish form share, and the form for its user and password.

import { fill, h } from './dom.js';
import { entry, field } from './parts.js';
import { MqttClient } from './mqtt.js';

export class Connection {
  #client = null;
  #opening = null;
  #state = h('p', { role: 'status' }, 'Not connected. It connects when you subscribe or publish.');
  #user = entry({ placeholder: 'anonymous' });
  #password = h('input', { type: 'password', autocomplete: 'off' });
  #leave = h('button', { type: 'button', disabled: true, click: () => this.#client?.end() }, 'Disconnect');
  /** Is told each message. */
  onMessage = () => {};
  /** Is told, in words, that the connection has ended. */
  onClosed = () => {};

  constructor(signal) {
    this.form = h(
      'form',
      {
        class: 'bar',
        submit: (event) => {
          event.preventDefault();
          this.#client?.end();
          this.open().catch(() => {});
        },
      },
      field('User', this.#user),
      field('Password', this.#password),
      h('button', {}, 'Connect'),
      this.#leave,
      this.#state,
    );
    signal.addEventListener('abort', () => this.#client?.end());
  }

  /** The client, connected; rejects with an `Error` in words. */
  async open() {
    if (this.#client) return this.#client;
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #connect() {
    const client = new MqttClient({
      message: (message) => this.onMessage(message),
      closed: (words) => this.#ended(client, words),
    });
    fill(this.#state, 'Connecting…');
    const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/mqtt`;
    await client.connect(url, { user: this.#user.value, password: this.#password.value });
    this.#client = client;
    this.#leave.disabled = false;
    fill(
      this.#state,
      this.#user.value ? ['Connected as ', h('bdi', {}, this.#user.value), '.'] : 'Connected, anonymous.',
    );
    return client;
  }

  #ended(client, words) {
    fill(this.#state, words);
    if (this.#client !== client) return;
    this.#client = null;
    this.#leave.disabled = true;
    this.onClosed(words);
  }
}
