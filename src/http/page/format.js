// Numbers with units and separators, lengths of time, moments.

import { h } from './dom.js';

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DATED = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const SPANS = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
  [1, 's'],
];
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d/;

/** 12,345; small numbers that are not whole keep three digits. */
export function number(value) {
  if (value === null || value === undefined) return '—';
  return Number.isInteger(value) || Math.abs(value) >= 100 ? WHOLE.format(value) : FINE.format(value);
}

/** 1,234 messages. */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** 1.21 MiB. */
export function bytes(value) {
  if (value === null || value === undefined) return '—';
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < BYTES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value)} ${BYTES[unit]}`;
}

/** 250 µs, 1.2 ms, 3.5 s, 4 min 10 s, 2 d 3 h. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return '—';
  if (seconds === 0) return '0 s';
  const size = Math.abs(seconds);
  if (size < 0.001) return `${FINE.format(seconds * 1e6)} µs`;
  if (size < 1) return `${FINE.format(seconds * 1e3)} ms`;
  if (size < 60) return `${FINE.format(seconds)} s`;
  const at = SPANS.findIndex(([unit]) => size >= unit);
  const [unit, word] = SPANS[at];
  const whole = Math.floor(size / unit);
  const rest = SPANS[at + 1] ? Math.floor((size - whole * unit) / SPANS[at + 1][0]) : 0;
  return `${seconds < 0 ? '-' : ''}${WHOLE.format(whole)} ${word}${rest ? ` ${rest} ${SPANS[at + 1][1]}` : ''}`;
}

/** 14:03:22. */
export function clock(time) {
  return CLOCK.format(new Date(time));
}

/** A moment, as "3 min ago", with the absolute one as title; it stays right while the page is open. */
export function moment(time) {
  if (!time) return h('span', { class: 'none' }, '—');
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return h('span', {}, String(time));
  return h('time', { datetime: date.toISOString(), title: DATED.format(date), 'data-ago': true }, ago(date));
}

/** A moment of today as the time of day, with the date as title. */
export function instant(time) {
  const date = new Date(time);
  const fraction = String(date.getMilliseconds()).padStart(3, '0');
  const text = `${CLOCK.format(date)}.${fraction}`;
  return h('time', { datetime: date.toISOString(), title: DATED.format(date), class: 'number' }, text);
}

function ago(date) {
  const seconds = Math.round((Date.now() - date.getTime()) / 1000);
  if (Math.abs(seconds) < 2) return 'now';
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** Brings each relative moment of the page up to date. */
export function renewMoments() {
  for (const element of document.querySelectorAll('time[data-ago]')) {
    const text = ago(new Date(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

/** A figure of the API by its name, whose end says its unit. */
export function figure(key, value) {
  if (value === null || value === undefined) return h('span', { class: 'none' }, '—');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string') return MOMENT.test(value) ? moment(value) : value || '—';
  if (Array.isArray(value)) return value.length ? value.map((each) => figure(key, each)).flatMap(comma) : '—';
  if (typeof value === 'object') {
    return Object.entries(value)
      .map(([part, of]) => [`${label(part)} `, figure(part, of)])
      .flatMap(comma);
  }
  if (key.endsWith('bytes_per_second')) return `${bytes(value)}/s`;
  if (key.endsWith('_per_second') || key.endsWith('_rate')) return `${number(value)} /s`;
  if (key.endsWith('_bytes')) return bytes(value);
  if (key.endsWith('_seconds')) return span(value);
  return number(value);
}

const comma = (node, at) => (at ? [', ', node] : [node]);

/** The words of a name of the API: the unit at its end is left out, the value says it. */
export function label(key) {
  const words = key
    .replace(/(_bytes|_seconds|_total)?(_per_second)?$/, '')
    .replaceAll('_', ' ')
    .replace(/\b(tls|qos|mqtt|id)\b/g, (word) => (word === 'qos' ? 'QoS' : word.toUpperCase()));
  return words.charAt(0).toUpperCase() + words.slice(1);
}
