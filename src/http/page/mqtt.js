// A small MQTT 5 client over WebSocket: what the live tail and the publish form need.
//
// QoS 0 and 1, a Session that ends with its connection, no topic aliases. What comes in may be cut anywhere.

const KEEP_ALIVE = 60;
const PACKET_MAX = 268_435_460;
const PENDING_MAX = 100;
const CONNECT_TIME = 10_000;
const TYPES = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
};

/** The words of a Reason Code (MQTT 5, 2.4). */
const REASONS = {
  0x00: 'Success',
  0x01: 'Granted QoS 1',
  0x02: 'Granted QoS 2',
  0x04: 'Disconnect with Will Message',
  0x10: 'No matching subscribers',
  0x11: 'No subscription existed',
  0x80: 'Unspecified error',
  0x81: 'Malformed Packet',
  0x82: 'Protocol Error',
  0x83: 'Implementation specific error',
  0x84: 'Unsupported Protocol Version',
  0x85: 'Client Identifier not valid',
  0x86: 'Bad User Name or Password',
  0x87: 'Not authorized',
  0x88: 'Server unavailable',
  0x89: 'Server busy',
  0x8a: 'Banned',
  0x8b: 'Server shutting down',
  0x8c: 'Bad authentication method',
  0x8d: 'Keep Alive timeout',
  0x8e: 'Session taken over',
  0x8f: 'Topic Filter invalid',
  0x90: 'Topic Name invalid',
  0x91: 'Packet Identifier in use',
  0x92: 'Packet Identifier not found',
  0x93: 'Receive Maximum exceeded',
  0x94: 'Topic Alias invalid',
  0x95: 'Packet too large',
  0x96: 'Message rate too high',
  0x97: 'Quota exceeded',
  0x98: 'Administrative action',
  0x99: 'Payload format invalid',
  0x9a: 'Retain not supported',
  0x9b: 'QoS not supported',
  0x9c: 'Use another server',
  0x9d: 'Server moved',
  0x9e: 'Shared Subscriptions not supported',
  0x9f: 'Connection rate exceeded',
  0xa0: 'Maximum connect time',
  0xa1: 'Subscription Identifiers not supported',
  0xa2: 'Wildcard Subscriptions not supported',
};

/** Identifier: name and kind of a property that a server may send to a client (MQTT 5, 2.2.2.2). */
const PROPERTIES = {
  0x01: ['payloadFormat', 'u8'],
  0x02: ['expiry', 'u32'],
  0x03: ['contentType', 'text'],
  0x08: ['responseTopic', 'text'],
  0x09: ['correlation', 'binary'],
  0x0b: ['subscriptionId', 'varint'],
  0x11: ['sessionExpiry', 'u32'],
  0x12: ['assignedClientId', 'text'],
  0x13: ['keepAlive', 'u16'],
  0x15: ['authMethod', 'text'],
  0x16: ['authData', 'binary'],
  0x1a: ['responseInformation', 'text'],
  0x1c: ['serverReference', 'text'],
  0x1f: ['reasonString', 'text'],
  0x21: ['receiveMaximum', 'u16'],
  0x22: ['topicAliasMaximum', 'u16'],
  0x23: ['topicAlias', 'u16'],
  0x24: ['qosMaximum', 'u8'],
  0x25: ['retainAvailable', 'u8'],
  0x26: ['userProperty', 'pair'],
  0x27: ['packetMaximum', 'u32'],
  0x28: ['wildcardAvailable', 'u8'],
  0x29: ['subscriptionIdAvailable', 'u8'],
  0x2a: ['sharedAvailable', 'u8'],
};

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A Reason Code in words: `0x87 Not authorized`, and what the broker adds to it. */
export function reasonText(code, properties = {}) {
  const number = `0x${code.toString(16).toUpperCase().padStart(2, '0')}`;
  const more = properties.reasonString ? ` (${properties.reasonString})` : '';
  return `${number} ${REASONS[code] ?? 'Reason Code that is not in the standard'}${more}`;
}

/**
 * One connection. `on.message({topic, payload, qos, retain, duplicate, properties})` for each PUBLISH,
 * `on.closed(words)` once at its end.
 */
export class MqttClient {
  #socket;
  #on;
  #received = new Uint8Array(0);
  #waiting = new Map();
  #lastId = 0;
  #ping = null;
  #answered = true;
  #end = null;

  constructor(on) {
    this.#on = on;
  }

  /** Connects to `url`; resolves with CONNACK's properties, rejects with an `Error` in words. */
  connect(url, { user, password }) {
    this.#socket = new WebSocket(url, ['mqtt']);
    this.#socket.binaryType = 'arraybuffer';
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => this.#close('The broker did not answer CONNECT within 10 s.'),
        CONNECT_TIME,
      );
      const done = (settle) => (value) => {
        clearTimeout(late);
        settle(value);
      };
      this.#waiting.set('connack', { resolve: done(resolve), reject: done(reject) });
      this.#socket.onopen = () => this.#send(TYPES.CONNECT, 0, connectBody(user, password));
      this.#socket.onmessage = ({ data }) => this.#receive(new Uint8Array(data));
      this.#socket.onclose = () => this.#close('The connection to the broker is closed.');
    });
  }

  /** Subscribes; resolves with the Reason Code granted. */
  subscribe(filter, qos) {
    return this.#request(TYPES.SUBSCRIBE, 2, (id) => [u16(id), [0], text(filter), [qos]]);
  }

  unsubscribe(filter) {
    return this.#request(TYPES.UNSUBSCRIBE, 2, (id) => [u16(id), [0], text(filter)]);
  }

  /** Publishes; resolves with the Reason Code of PUBACK, with `null` at once for QoS 0. */
  publish(topic, payload, { qos, retain }) {
    const flags = (qos << 1) | (retain ? 1 : 0);
    if (qos > 0) return this.#request(TYPES.PUBLISH, flags, (id) => [text(topic), u16(id), [0], payload]);
    this.#send(TYPES.PUBLISH, flags, [text(topic), [0], payload]);
    return Promise.resolve(null);
  }

  /** Says DISCONNECT and closes. */
  end() {
    if (this.#socket.readyState === WebSocket.OPEN) this.#send(TYPES.DISCONNECT, 0, []);
    this.#close('Disconnected.');
  }

  #request(type, flags, body) {
    if (this.#end) return Promise.reject(new Error(this.#end));
    if (this.#waiting.size >= PENDING_MAX)
      return Promise.reject(new Error('Too many requests wait for an answer.'));
    do this.#lastId = (this.#lastId % 65_535) + 1;
    while (this.#waiting.has(this.#lastId));
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#send(type, flags, body(id));
    });
  }

  #send(type, flags, parts) {
    const body = joined(parts);
    this.#socket.send(joined([[(type << 4) | flags], varint(body.length), body]));
  }

  #receive(bytes) {
    this.#received = this.#received.length ? joined([this.#received, bytes]) : bytes;
    try {
      for (;;) {
        const packet = cutPacket(this.#received);
        if (!packet) return;
        this.#received = this.#received.subarray(packet.size);
        this.#handle(packet);
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#close('The broker sent a packet that this page cannot read.');
    }
  }

  #handle({ type, flags, reader }) {
    switch (type) {
      case TYPES.CONNACK:
        return this.#onConnack(reader);
      case TYPES.PUBLISH:
        return this.#onPublish(flags, reader);
      case TYPES.PUBACK: {
        const id = reader.u16();
        const code = reader.left() ? reader.u8() : 0;
        return this.#settle(id, code, reader.left() ? reader.properties() : {});
      }
      case TYPES.SUBACK:
      case TYPES.UNSUBACK: {
        const id = reader.u16();
        const properties = reader.properties();
        return this.#settle(id, reader.u8(), properties);
      }
      case TYPES.PINGRESP:
        this.#answered = true;
        return undefined;
      case TYPES.DISCONNECT: {
        const code = reader.left() ? reader.u8() : 0;
        const properties = reader.left() ? reader.properties() : {};
        return this.#close(`The broker disconnected: ${reasonText(code, properties)}.`);
      }
      default:
        throw new RangeError('a packet of no use here');
    }
  }

  #onConnack(reader) {
    reader.u8();
    const code = reader.u8();
    const properties = reader.properties();
    if (code >= 0x80) {
      this.#close(`The broker refused the connection: ${reasonText(code, properties)}.`);
      return;
    }
    const time = properties.keepAlive ?? KEEP_ALIVE;
    if (time > 0) this.#ping = setInterval(() => this.#keepAlive(), time * 500);
    this.#waiting.get('connack')?.resolve(properties);
    this.#waiting.delete('connack');
  }

  #onPublish(flags, reader) {
    const qos = (flags >> 1) & 3;
    const topic = reader.text();
    const id = qos > 0 ? reader.u16() : null;
    const properties = reader.properties();
    const message = {
      topic,
      qos,
      retain: Boolean(flags & 1),
      duplicate: Boolean(flags & 8),
      properties,
      payload: reader.rest(),
    };
    if (qos === 1) this.#send(TYPES.PUBACK, 0, [u16(id)]);
    this.#on.message(message);
  }

  #settle(id, code, properties) {
    this.#waiting.get(id)?.resolve({ code, properties });
    this.#waiting.delete(id);
  }

  #keepAlive() {
    if (!this.#answered) {
      this.#close('The broker does not answer PINGREQ.');
      return;
    }
    this.#answered = false;
    this.#send(TYPES.PINGREQ, 0, []);
  }

  #close(words) {
    if (this.#end) return;
    this.#end = words;
    clearInterval(this.#ping);
    this.#socket.close();
    for (const { reject } of this.#waiting.values()) reject(new Error(words));
    this.#waiting.clear();
    this.#on.closed(words);
  }
}

function connectBody(user, password) {
  const random = crypto.getRandomValues(new Uint8Array(6));
  const id = `dashboard-${Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  const flags = 0x02 | (user ? 0x80 : 0) | (password ? 0x40 : 0);
  return [
    text('MQTT'),
    [5, flags],
    u16(KEEP_ALIVE),
    [0],
    text(id),
    user ? text(user) : [],
    password ? text(password) : [],
  ];
}

/** The first whole packet of `bytes`, or `null` if it has not come yet. */
function cutPacket(bytes) {
  let length = 0;
  for (let at = 1; at <= 4; at += 1) {
    if (at >= bytes.length) return null;
    length += (bytes[at] & 0x7f) * 128 ** (at - 1);
    if (bytes[at] & 0x80) continue;
    const start = at + 1;
    if (start + length > PACKET_MAX) throw new RangeError('too large');
    if (bytes.length < start + length) return null;
    const reader = new Reader(bytes.subarray(start, start + length));
    return { type: bytes[0] >> 4, flags: bytes[0] & 15, size: start + length, reader };
  }
  throw new RangeError('a length of more than four bytes');
}

/** Reads a packet's body; what goes beyond its end throws a `RangeError`. */
class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  left() {
    return this.#bytes.length - this.#at;
  }

  take(length) {
    if (length > this.left()) throw new RangeError('a packet that ends too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8() {
    return this.take(1)[0];
  }

  u16() {
    return this.u8() * 256 + this.u8();
  }

  u32() {
    return this.u16() * 65_536 + this.u16();
  }

  varint() {
    let value = 0;
    for (let place = 0; place < 4; place += 1) {
      const byte = this.u8();
      value += (byte & 0x7f) * 128 ** place;
      if (!(byte & 0x80)) return value;
    }
    throw new RangeError('a number of more than four bytes');
  }

  binary() {
    return this.take(this.u16());
  }

  text() {
    return decoder.decode(this.binary());
  }

  pair() {
    return [this.text(), this.text()];
  }

  rest() {
    return this.take(this.left());
  }

  properties() {
    const reader = new Reader(this.take(this.varint()));
    const found = {};
    while (reader.left()) {
      const property = PROPERTIES[reader.varint()];
      if (!property) throw new RangeError('a property that is not in the standard');
      const [name, kind] = property;
      const value = reader[kind]();
      if (kind === 'pair') (found[name] ??= []).push(value);
      else found[name] = value;
    }
    return found;
  }
}

const u16 = (value) => [value >> 8, value & 0xff];

function varint(value) {
  const bytes = [];
  do {
    const rest = Math.floor(value / 128);
    bytes.push((value % 128) | (rest ? 0x80 : 0));
    value = rest;
  } while (value);
  return bytes;
}

function text(value) {
  const bytes = encoder.encode(value);
  if (bytes.length > 65_535) throw new Error('A text of MQTT has at most 65,535 bytes.');
  return joined([u16(bytes.length), bytes]);
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
