// Words of the broker that more than one view says.

import { get } from './api.js';

/** What each level of overload does. */
export const LEVELS = [
  'not pressed',
  'windows of clients are a half of what they are',
  'windows are a quarter, the heaviest publishers are held up, connections are accepted more slowly',
  'windows are an eighth, CONNECT is refused, QoS 0 of clients is dropped',
];

const CAUSES = {
  lag: 'tasks are woken late: there is more to do than processors',
  memory: 'memory of the process',
  commit: 'the store takes long to make things durable',
  queued: 'bytes of messages in all queues',
  unwritten: 'bytes that the store has not written yet',
};

/** The cause of a level in words. */
export const causeText = (cause) => CAUSES[cause] ?? cause;

let reasons = null;

/** Meaning and advice of each reason of the ledger, by its name. */
export async function reasonBook(signal) {
  if (!reasons) {
    const ledger = await get('/ledger', signal);
    reasons = new Map(ledger.reasons.map((row) => [row.reason, row]));
  }
  return reasons;
}

export const clientLink = (id) => `#/clients/${encodeURIComponent(id)}`;
