// The frame around the views: the token, the address, the state of the broker, shortcuts, colours.

import {
  broker,
  decoded,
  every,
  forgetToken,
  get,
  hasToken,
  keepToken,
  setRights,
  takeToken,
} from './api.js';
import { fill, h } from './dom.js';
import { count, moment, renewMoments, span } from './format.js';
import { entry, field, mark } from './parts.js';
import { LEVELS, causeText } from './words.js';
import { showClient } from './client.js';
import { showClients } from './clients.js';
import { showConfiguration } from './configuration.js';
import { showGroups } from './groups.js';
import { showLedger } from './ledger.js';
import { showOverview } from './overview.js';
import { showTopics } from './topics.js';
import { showTrace } from './trace.js';

const VIEWS = [
  { at: 'overview', title: 'Overview', show: showOverview },
  { at: 'clients', title: 'Clients', show: showClients, one: showClient },
  { at: 'topics', title: 'Topics', show: showTopics },
  { at: 'groups', title: 'Groups', show: showGroups },
  { at: 'ledger', title: 'Ledger', show: showLedger },
  { at: 'trace', title: 'Trace', show: showTrace },
  { at: 'configuration', title: 'Configuration', show: showConfiguration },
];
const THEMES = { system: 'Colours: system', light: 'Colours: light', dark: 'Colours: dark' };
const STATUS_EVERY = 5;

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const summary = document.getElementById('summary');
const down = document.getElementById('down');
const since = document.getElementById('since');

/** Ends what the view that is shown has started. */
let shown = new AbortController();
let watching = new AbortController();

start();

function start() {
  const link = (view, at) =>
    h('a', { href: `#/${view.at}`, 'aria-keyshortcuts': String(at + 1) }, view.title);
  fill(nav, h('ul', {}, VIEWS.map((view, at) => h('li', {}, link(view, at)))));
  startTheme();
  document.getElementById('help').addEventListener('click', showHelp);
  document.getElementById('leave').addEventListener('click', () => askToken(''));
  document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  document.addEventListener('keydown', onKey);
  addEventListener('hashchange', () => (takeTokenAgain() ? enter() : route()));
  broker.addEventListener('token', (event) => askToken(event.detail));
  broker.addEventListener('down', showBanner);
  broker.addEventListener('up', showBanner);
  setInterval(() => {
    if (!document.hidden) renewMoments();
  }, 1000);
  if (takeToken()) enter();
  else askToken('');
}

const takeTokenAgain = () => location.hash.startsWith('#token=') && takeToken();

/** With a token: asks for the state every few seconds, and shows the view of the address once it is known. */
async function enter() {
  watching.abort();
  watching = new AbortController();
  const { signal } = watching;
  let entered = false;
  await every(
    STATUS_EVERY,
    async () => {
      try {
        broker.status = await get('/status', signal);
        showSummary(broker.status);
        broker.dispatchEvent(new Event('status'));
      } catch {
        // What it means is said by the banner or the form for a token.
      }
      if (entered || signal.aborted) return;
      entered = true;
      nav.hidden = false;
      document.getElementById('leave').hidden = false;
      route();
    },
    signal,
  );
}

function showSummary(status) {
  setRights(status.rights);
  const level = status.level ?? 0;
  const why = level > 0 ? `${LEVELS[level]}; cause: ${causeText(status.cause)}` : LEVELS[0];
  const kind = ['good', 'warn', 'warn', 'bad'][level];
  fill(
    summary,
    h('span', { class: 'node' }, status.node || location.host),
    h('span', { title: why }, mark(`level ${level}`, kind)),
    status.ready ? null : mark('not ready', 'bad'),
    h('span', { class: 'minor' }, count(status.clients_connected, 'client')),
    h('span', { class: 'minor' }, `up ${span(status.uptime_seconds)}`),
    h('span', { class: 'minor' }, status.version ? `Sluice ${status.version}` : ''),
    broker.rights === 'viewer'
      ? h('span', { title: 'This token may look and change nothing.' }, mark('viewer'))
      : null,
  );
}

/** Says once that the broker is gone; since when, which changes each second, is outside of what is read out. */
function showBanner() {
  fill(down, broker.down ? h('b', {}, 'The broker does not answer.') : null);
  fill(
    since,
    broker.down
      ? [
          h('span', {}, 'What is shown is from ', moment(broker.down), '. This page tries again every 5 s.'),
          h('button', { type: 'button', click: enter }, 'Try now'),
        ]
      : null,
  );
}

/** Shows the view that the address names. */
function route() {
  if (!hasToken()) return;
  const [place, asked = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [at, ...rest] = place.split('/');
  const view = VIEWS.find((each) => each.at === at);
  if (!view) {
    location.replace('#/overview');
    return;
  }
  shown.abort();
  shown = new AbortController();
  const one = view.one && rest.length ? decoded(rest.join('/')) : null;
  for (const link of nav.querySelectorAll('a')) {
    if (link.hash === `#/${view.at}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const page = h('div', { class: `view view-${view.at}` });
  const moved = main.childElementCount > 0;
  fill(main, page);
  document.title = `${view.title} – Sluice`;
  const cx = { page, signal: shown.signal, query: new URLSearchParams(asked), route, setQuery };
  if (one !== null) view.one(cx, one);
  else view.show(cx);
  if (moved) focusTitle(page);
}

/** After a step to another view the keyboard and the screen reader are at its title. */
function focusTitle(page) {
  const title = page.querySelector('h1');
  if (!title || document.querySelector('dialog[open]')) return;
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** Keeps what a view is asked in the address, without a new entry in the history. */
function setQuery(query) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const place = location.hash.split('?')[0];
  history.replaceState(null, '', asked.size ? `${place}?${asked}` : place);
}

/** The form for a token, with what was wrong with the last one. */
function askToken(wrong) {
  forgetToken();
  shown.abort();
  watching.abort();
  nav.hidden = true;
  document.getElementById('leave').hidden = true;
  fill(summary);
  fill(down);
  fill(since);
  document.title = 'Token – Sluice';
  const input = entry({
    type: 'password',
    name: 'token',
    required: true,
    'aria-describedby': wrong ? 'wrong' : null,
    'aria-invalid': wrong ? 'true' : null,
  });
  const submit = (event) => {
    event.preventDefault();
    keepToken(input.value.trim());
    if (!location.hash.startsWith('#/')) history.replaceState(null, '', '#/overview');
    enter();
  };
  fill(
    main,
    h(
      'form',
      { class: 'alone', submit },
      h('h1', {}, 'Token'),
      wrong && h('p', { id: 'wrong', class: 'wrong', role: 'alert' }, wrong),
      field('Token of this broker', input),
      h('button', { class: 'first' }, 'Show the broker'),
      h(
        'p',
        { class: 'hint' },
        'At its start the broker prints a link that has the token in it, and keeps the token in ',
        'the file that ',
        h('code', {}, 'http.token_file'),
        ' names. This tab forgets it when it is closed.',
      ),
    ),
  );
  input.focus();
}

function startTheme() {
  const button = document.getElementById('theme');
  const root = document.documentElement;
  const name = () => root.dataset.theme ?? 'system';
  const show = () => fill(button, THEMES[name()]);
  button.addEventListener('click', () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(name()) + 1) % names.length];
    if (next === 'system') delete root.dataset.theme;
    else root.dataset.theme = next;
    remember('sluice-theme', root.dataset.theme);
    show();
  });
  show();
}

function remember(key, value) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // Storage is switched off: the choice lasts until the page is left.
  }
}

let shortcuts = true;
try {
  shortcuts = localStorage.getItem('sluice-shortcuts') !== 'off';
} catch {
  // As above.
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.target.closest('input, select, textarea, [contenteditable]')) return;
  if (event.key === '?') showHelp();
  else if (!shortcuts || !hasToken()) return;
  else if (VIEWS[Number(event.key) - 1]) location.hash = `#/${VIEWS[Number(event.key) - 1].at}`;
  else if (event.key === '/') (main.querySelector('[type=search]') ?? main).focus();
  else if (event.key === 'r') route();
  else return;
  event.preventDefault();
}

function showHelp() {
  const box = h('input', {
    type: 'checkbox',
    change: () => {
      shortcuts = box.checked;
      remember('sluice-shortcuts', shortcuts ? '' : 'off');
    },
  });
  box.checked = shortcuts;
  const keys = [
    ['?', 'this list'],
    ...VIEWS.map((view, at) => [String(at + 1), view.title]),
    ['/', 'to the search of the view'],
    ['r', 'load the view again'],
    ['← → Home End', 'in a chart: read it point by point'],
    ['Esc', 'close a question'],
  ];
  const dialog = h(
    'dialog',
    { 'aria-labelledby': 'keys', close: () => dialog.remove() },
    h(
      'form',
      { method: 'dialog' },
      h('h2', { id: 'keys' }, 'Keyboard shortcuts'),
      h(
        'dl',
        { class: 'keys' },
        keys.map(([key, does]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, does))),
      ),
      h('label', { class: 'check' }, box, 'Shortcuts of single keys are on'),
      h('div', { class: 'actions' }, h('button', { autofocus: true }, 'Close')),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
