// Elements are made here, and text is put into them only as text: nothing in this page is parsed as HTML.
//
// Client Identifiers, topics and payloads are chosen by strangers. Every string becomes a text node, and
// each character in it that cannot be seen or turns the direction of writing is shown as its number.

const SVG = 'http://www.w3.org/2000/svg';
const UNSEEN =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u00a0\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2000-\u200a\u2800\u3000\u3164\ufe00-\ufe0f\uffa0]/u;
const CUT_AT = 40;
const FULL_MAX = 1_000;

/** An element: properties that are functions become listeners, `true` an empty attribute, `null` none. */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** An element of SVG. */
export function svg(tag, properties, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  put(element, ...children);
  return element;
}

/** Appends children; strings become text whose unseen characters are shown. */
export function put(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    if (child instanceof Node) element.append(child);
    else element.append(...shown(String(child)));
  }
}

/** Replaces all children. */
export function fill(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** Nodes of a text. `kept` are unseen characters that stay as they are. */
export function shown(text, kept = '') {
  if (!UNSEEN.test(text)) return [document.createTextNode(text)];
  const nodes = [];
  let seen = '';
  for (const character of text) {
    if (kept.includes(character) || !UNSEEN.test(character)) {
      seen += character;
      continue;
    }
    if (seen) nodes.push(document.createTextNode(seen));
    seen = '';
    nodes.push(escape(character));
  }
  if (seen) nodes.push(document.createTextNode(seen));
  return nodes;
}

function escape(character) {
  const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
  const element = document.createElement('span');
  element.className = 'escape';
  element.textContent = `U+${number}`;
  return element;
}

/** A sentence of the broker, in which names of keys stand between backticks. */
export function prose(text) {
  return String(text ?? '')
    .split('`')
    .map((part, at) => (at % 2 ? h('code', {}, part) : part));
}

/** A text with its unseen characters as numbers, for titles and labels. */
export function plain(text) {
  return shown(text)
    .map((node) => (node.nodeType === Node.TEXT_NODE ? node.data : `⟨${node.textContent}⟩`))
    .join('');
}

/**
 * A name from outside, set apart from the direction of the text around it. A long one is cut in the middle
 * and shown in full while it has the focus; with `href` it is a link.
 */
export function name(text, href) {
  if (text === null || text === undefined) return h('span', { class: 'none' }, '—');
  if (text === '') return href ? h('a', { href }, '(empty)') : h('span', { class: 'none' }, '(empty)');
  const tag = href ? 'a' : 'span';
  const start = Array.from(text.slice(0, 2 * CUT_AT));
  if (start.length <= CUT_AT) return h(tag, { href }, h('bdi', { class: 'name' }, text));
  const head = start.slice(0, CUT_AT / 2).join('');
  const tail = Array.from(text.slice(-CUT_AT))
    .slice(-CUT_AT / 2 + 2)
    .join('');
  const more = text.length > FULL_MAX ? `… (${text.length.toLocaleString('en')} characters)` : '';
  const full = text.slice(0, FULL_MAX) + more;
  return h(
    tag,
    { href, class: 'cut', tabindex: href ? null : '0', title: plain(full) },
    h('bdi', { class: 'name short', 'aria-hidden': 'true' }, head, h('span', { class: 'gap' }, '…'), tail),
    h('bdi', { class: 'name full' }, full),
  );
}
