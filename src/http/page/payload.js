// Payloads: as text, as JSON, or byte by byte. Only the first bytes are kept and shown.

import { h, shown } from './dom.js';
import { bytes, number } from './format.js';

/** Bytes of a payload that are kept. */
export const KEPT = 16_384;

export const FORMS = [
  ['auto', 'as fits'],
  ['text', 'as text'],
  ['json', 'as JSON'],
  ['hex', 'as hex'],
];

/** The bytes of a payload in base64. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** A payload as nodes; `size` is its whole length where `kept` is only its beginning. */
export function payload(kept, form = 'auto', size = kept.length) {
  if (size === 0) return h('span', { class: 'none' }, '(empty)');
  const text = form === 'hex' ? null : asText(kept, size > kept.length);
  const cut =
    size > kept.length ? h('p', { class: 'hint' }, `First ${bytes(kept.length)} of ${bytes(size)}.`) : null;
  if (text === null) return [h('pre', {}, hex(kept)), cut];
  const json = form === 'text' ? null : asJson(text, form);
  return [h('pre', {}, shown(json ?? text, '\n\t')), cut];
}

/** The beginning of a payload on one line. */
export function glimpse(kept, form = 'auto') {
  const start = kept.subarray(0, 160);
  const text = form === 'hex' ? null : asText(start, kept.length > start.length);
  return text === null ? hexLine(start.subarray(0, 24)) : text;
}

function asText(kept, cut) {
  try {
    // A character cut in two at the end is no mistake: it is left out.
    return new TextDecoder('utf-8', { fatal: true }).decode(kept, { stream: cut });
  } catch {
    return null;
  }
}

function asJson(text, form) {
  if (form !== 'json' && !/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return form === 'json' ? `${text}\n\n(not JSON)` : null;
  }
}

const hexLine = (part) => Array.from(part, (byte) => byte.toString(16).padStart(2, '0')).join(' ');

function hex(kept) {
  const lines = [];
  for (let at = 0; at < kept.length; at += 16) {
    const part = kept.subarray(at, at + 16);
    const seen = Array.from(part, (byte) =>
      byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·',
    ).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hexLine(part).padEnd(47)}  ${seen}`);
  }
  return lines.join('\n');
}

/** The length of a payload in words. */
export const length = (size) => (size < 1024 ? `${number(size)} B` : bytes(size));
