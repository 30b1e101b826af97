// Requests to the broker: the token, errors in words, server-sent events, and whether it answers at all.

const KEY = 'sluice-token';
const BASE = '/api/v1';
const TIMEOUT = 10_000;
const EVENT_MAX = 1 << 20;
const PAUSE_FIRST = 2_000;
const PAUSE_MAX = 30_000;

/** What went wrong with a request. Status 0: there was no answer. */
export class Problem extends Error {
  constructor(status, title, detail = '') {
    super(detail ? `${title}: ${detail}` : title);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

/**
 * What is known of the broker's end: `down` is since when it has not answered, `rights` those of the token,
 * `status` the last answer of `/status`.
 * Events: `token` (there is none, or it was refused), `down`, `up`, `rights`, `status`.
 */
export const broker = Object.assign(new EventTarget(), {
  down: null,
  heard: null,
  rights: null,
  status: null,
});

let held = null;

/** Takes the token out of the address, where the link of the broker has it. */
export function takeToken() {
  const found = /^#token=([^&]+)/.exec(location.hash);
  if (found) {
    keepToken(decoded(found[1]));
    history.replaceState(null, '', `${location.pathname}#/overview`);
  }
  return hasToken();
}

export function keepToken(token) {
  held = token;
  broker.rights = null;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // Storage is switched off: the token lasts until the page is left.
  }
}

export function hasToken() {
  try {
    held ??= sessionStorage.getItem(KEY);
  } catch {
    // As above.
  }
  return Boolean(held);
}

export function forgetToken() {
  held = null;
  broker.rights = null;
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

/** A part of an address as it was before it was encoded; as it is, if it was not. */
export function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A path with its parts and questions encoded; what is empty is left out. */
export function path(parts, query = {}) {
  const asked = Object.entries(query).filter(
    ([, value]) => value !== '' && value !== null && value !== undefined,
  );
  const questions = new URLSearchParams(asked).toString();
  return `/${parts.map(encodeURIComponent).join('/')}${questions ? `?${questions}` : ''}`;
}

/** The answer to a request as data. Throws a `Problem`, or what `signal` was aborted with. */
export async function ask(method, target, { body, signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT);
  const answer = await send(method, target, {
    body,
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(answer.status, 'The answer is not whole');
  }
}

export const get = (target, signal) => ask('GET', target, { signal });

async function send(method, target, { body, signal }) {
  const token = held;
  const headers = { Authorization: `Bearer ${token ?? ''}` };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(BASE + target, {
      method,
      headers,
      body: payload,
      signal,
      cache: 'no-store',
      redirect: 'error',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    setDown();
    const late = error.name === 'TimeoutError';
    throw new Problem(0, 'The broker does not answer', late ? 'it took more than 10 s' : 'no connection');
  }
  setUp();
  if (answer.ok) return answer;
  throw await refusal(answer, token);
}

async function refusal(answer, token) {
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // No description came with it.
  }
  // Of a token that has been exchanged meanwhile nothing is to be said.
  if (answer.status === 401 && token === held) {
    forgetToken();
    broker.dispatchEvent(new CustomEvent('token', { detail: 'The broker does not know this token.' }));
  }
  if (answer.status === 403) {
    return new Problem(403, 'Not allowed', said.detail ?? 'the token has not the rights for this');
  }
  return new Problem(answer.status, said.title ?? `HTTP ${answer.status}`, said.detail ?? '');
}

/** Notes the rights of the token: `viewer` or `operator`. */
export function setRights(rights) {
  if (!rights || broker.rights === rights) return;
  broker.rights = rights;
  broker.dispatchEvent(new Event('rights'));
}

function setDown() {
  if (broker.down) return;
  broker.down = broker.heard ?? Date.now();
  broker.dispatchEvent(new Event('down'));
}

function setUp() {
  broker.heard = Date.now();
  if (!broker.down) return;
  broker.down = null;
  broker.dispatchEvent(new Event('up'));
}

/**
 * Reads server-sent events until the stream ends, and hands each to `on(event, data)`. A stream that breaks
 * throws; an event above 1 MiB ends it.
 */
export async function readFeed(target, on, { signal, opened } = {}) {
  const answer = await send('GET', target, { signal });
  opened?.();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) handBlock(block, on);
    if (rest.length > EVENT_MAX) throw new Problem(0, 'The feed sent too much at once');
  }
}

function handBlock(block, on) {
  let event = 'message';
  let data = '';
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith('event:')) event = line.slice(6).trim();
    else if (line.startsWith('data:')) data += line.slice(5);
  }
  if (data) on(event, JSON.parse(data));
}

/**
 * Follows a feed until `signal`: opens it again when it breaks, later each time, and closes it while the tab
 * is hidden. `state(text)` is told what it does: '' while events come.
 */
export async function followFeed(target, on, { signal, state }) {
  let pause = PAUSE_FIRST;
  while (!signal.aborted) {
    await visible(signal);
    if (signal.aborted) return;
    const shut = new AbortController();
    const hide = () => document.hidden && shut.abort();
    document.addEventListener('visibilitychange', hide);
    const opened = () => {
      pause = PAUSE_FIRST;
      state('');
    };
    let why = 'The feed ended';
    try {
      await readFeed(target, on, { signal: AbortSignal.any([signal, shut.signal]), opened });
    } catch (error) {
      why = error instanceof Problem ? error.message : 'The feed broke off';
    }
    document.removeEventListener('visibilitychange', hide);
    if (signal.aborted) return;
    if (document.hidden) continue;
    state(`${why}. Next try in ${pause / 1000} s.`);
    await wait(pause, signal);
    pause = Math.min(pause * 2, PAUSE_MAX);
  }
}

/** Waits until the tab is seen. */
async function visible(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((done) => {
      document.addEventListener('visibilitychange', done, { once: true, signal });
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** Waits for a time in milliseconds, or until `signal`. */
export function wait(time, signal) {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      done();
    };
    const timer = setTimeout(end, time);
    signal?.addEventListener('abort', end);
  });
}

/** Runs `task` at once and then every `seconds`, one at a time, never while the tab is hidden. */
export async function every(seconds, task, signal) {
  while (!signal.aborted) {
    await visible(signal);
    if (signal.aborted) return;
    await task();
    await wait(seconds * 1000, signal);
  }
}
