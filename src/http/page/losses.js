// Tables of losses: by reason, with what each means, and one by one.

import { h, name, prose } from './dom.js';
import { instant, number } from './format.js';
import { table } from './parts.js';
import { clientLink } from './words.js';

/** Rows `{reason, count, meaning, advice}`. */
export function reasonTable(caption, empty) {
  return table({
    caption,
    empty,
    key: (row) => row.reason,
    columns: [
      { label: 'Reason', value: (row) => row.reason },
      { label: 'Messages', numeric: true, value: (row) => number(row.count) },
      { label: 'What it means', words: true, value: (row) => row.meaning, show: (row) => prose(row.meaning) },
      { label: 'What to change', words: true, value: (row) => row.advice, show: (row) => prose(row.advice) },
    ],
  });
}

/** Losses of the API that have been `numbered`; those of one client need no column for it. */
export function lossTable(caption, empty, ofOneClient = false) {
  const client = {
    label: 'Client',
    value: (loss) => loss.client_id,
    show: (loss) => name(loss.client_id, loss.client_id && clientLink(loss.client_id)),
  };
  return table({
    caption,
    empty,
    key: (loss) => loss.number,
    columns: [
      { label: 'Time', value: (loss) => loss.time, show: (loss) => instant(loss.time) },
      ...(ofOneClient ? [] : [client]),
      { label: 'Messages', numeric: true, value: (loss) => number(loss.count) },
      { label: 'Topic', value: (loss) => loss.topic, show: (loss) => name(loss.topic) },
      {
        label: 'Reason',
        value: (loss) => loss.reason,
        show: (loss) => h('span', { title: loss.advice }, loss.reason),
      },
    ],
  });
}

let lastNumber = 0;

/** A loss with a number of its own: two losses may be the same in everything. */
export function numbered(loss) {
  lastNumber += 1;
  return { ...loss, number: lastNumber };
}
