// Lines over time, drawn as SVG: axes with units, a read-out under the pointer and for the arrow keys, and the
// same figures as a table.

import { fill, h, svg } from './dom.js';
import { clock } from './format.js';

const HEIGHT = 168;
const LEFT = 66;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 24;
const TICKS = 4;
const TABLE_ROWS = 30;
const GAP = 15_000;

/**
 * A chart of `series` (`{name, value(point)}`, drawn in their order), whose values are written by `format`.
 * `scale` is 1024 for bytes. `floor` is the least top of the axis; `step` draws values that hold until the
 * next. `read(point)` adds words to the read-out.
 */
export function chart({
  title,
  series,
  format,
  scale = 1000,
  floor = 0,
  step = false,
  ticks,
  read,
  span = 900_000,
}) {
  let points = [];
  let lines = series;
  let at = null;
  let width = 480;
  const plot = svg('svg', {
    class: 'plot',
    role: 'img',
    tabindex: '0',
    height: HEIGHT,
    'aria-label': title,
  });
  const out = h('p', { class: 'read' });
  const spoken = h('p', { class: 'quiet', 'aria-live': 'polite' });
  const rows = h('div');
  const details = h(
    'details',
    { toggle: () => details.open && drawTable() },
    h('summary', {}, 'As a table'),
    rows,
  );
  const element = h('figure', { class: 'chart' }, h('figcaption', {}, title), plot, out, spoken, details);

  const box = () => {
    const end = points.length ? points.at(-1).at : Date.now();
    return { end, start: end - span, right: width - RIGHT, bottom: HEIGHT - BOTTOM };
  };
  const x = (time, { start, right }) => LEFT + ((time - start) / span) * (right - LEFT);

  function draw() {
    const area = box();
    const most = Math.max(
      floor,
      ...points.map((point) => Math.max(0, ...lines.map((line) => line.value(point) ?? 0))),
    );
    const marks = ticks ?? nice(most, scale);
    const top = marks.at(-1) || 1;
    const y = (value) => area.bottom - (value / top) * (area.bottom - TOP);
    plot.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    plot.replaceChildren(
      grid(area, marks, y),
      times(area),
      ...lines.map((line, index) => curve(line, index, area, y)),
    );
    if (at !== null && points[at]) plot.append(cross(area, y));
    drawRead();
  }

  function grid({ right, bottom }, marks, y) {
    return svg(
      'g',
      { class: 'grid' },
      marks.map((value) => [
        svg('line', {
          x1: LEFT,
          x2: right,
          y1: y(value),
          y2: y(value),
          class: y(value) === bottom ? 'base' : null,
        }),
        svg('text', { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, format(value)),
      ]),
    );
  }

  function times(area) {
    const every = width < 420 ? 300_000 : 180_000;
    const marks = [];
    for (let time = Math.ceil(area.start / every) * every; time <= area.end; time += every) marks.push(time);
    return svg(
      'g',
      { class: 'grid' },
      marks.map((time) =>
        svg(
          'text',
          {
            x: x(time, area),
            y: HEIGHT - 6,
            'text-anchor': x(time, area) > area.right - 20 ? 'end' : 'middle',
          },
          clock(time).slice(0, 5),
        ),
      ),
    );
  }

  function curve(line, index, area, y) {
    let drawn = '';
    let before = null;
    for (const point of points) {
      const value = line.value(point);
      if (value === null || value === undefined || point.at < area.start) {
        before = null;
        continue;
      }
      const [left, height] = [x(point.at, area).toFixed(1), y(value).toFixed(1)];
      const joined = before !== null && point.at - before < GAP;
      drawn += !joined ? `M${left} ${height}` : step ? `H${left}V${height}` : `L${left} ${height}`;
      before = point.at;
    }
    return svg('path', { d: drawn || 'M0 0', class: `line line-${index}` });
  }

  function cross(area, y) {
    const left = x(points[at].at, area);
    const dots = lines.map((line, index) => {
      const value = line.value(points[at]);
      return value === null || value === undefined
        ? null
        : svg('circle', { cx: left, cy: y(value), r: 3.5, class: `dot line-${index}` });
    });
    return svg('g', {}, svg('line', { x1: left, x2: left, y1: TOP, y2: area.bottom, class: 'cross' }), dots);
  }

  function drawRead() {
    const point = points[at ?? points.length - 1];
    if (!point) {
      fill(out, h('span', { class: 'none' }, 'No figures yet.'));
      return;
    }
    const when = at === null ? 'now' : clock(point.at);
    fill(
      out,
      h('span', { class: 'when' }, when),
      lines.map((line, index) =>
        h('span', { class: 'key' }, swatch(index), `${line.name} `, h('b', {}, written(line.value(point)))),
      ),
      read && h('span', {}, read(point)),
    );
  }

  const written = (value) => (value === null || value === undefined ? '—' : format(value));

  function speak() {
    const point = points[at];
    if (!point) return;
    const values = lines.map((line) => `${line.name} ${written(line.value(point))}`).join(', ');
    spoken.textContent = `${clock(point.at)}: ${values}`;
  }

  function drawTable() {
    const every = Math.max(1, Math.ceil(points.length / TABLE_ROWS));
    const kept = points.filter((_, index) => index % every === 0).reverse();
    fill(
      rows,
      h(
        'div',
        { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title },
        h(
          'table',
          {},
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              h('th', { scope: 'col' }, 'Time'),
              lines.map((line) => h('th', { scope: 'col', class: 'number' }, line.name)),
            ),
          ),
          h(
            'tbody',
            {},
            kept.map((point) =>
              h(
                'tr',
                {},
                h('th', { scope: 'row' }, clock(point.at)),
                lines.map((line) => h('td', { class: 'number' }, written(line.value(point)))),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function move(to) {
    at = points.length === 0 ? null : Math.min(Math.max(to, 0), points.length - 1);
    draw();
  }

  plot.addEventListener('pointermove', (event) => {
    const area = box();
    const left = ((event.clientX - plot.getBoundingClientRect().left - LEFT) / (area.right - LEFT)) * span;
    move(nearest(points, area.start + left));
  });
  plot.addEventListener('pointerleave', release);
  plot.addEventListener('blur', release);
  plot.addEventListener('keydown', (event) => {
    const from = at ?? points.length - 1;
    const far = Math.ceil(points.length / 15);
    const to = {
      ArrowLeft: from - 1,
      ArrowRight: from + 1,
      PageUp: from - far,
      PageDown: from + far,
      Home: 0,
      End: points.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
    speak();
  });

  function release() {
    at = null;
    draw();
  }

  new ResizeObserver(([entry]) => {
    const wide = Math.round(entry.contentRect.width);
    if (wide === width || wide === 0) return;
    width = wide;
    draw();
  }).observe(plot);

  /** Draws `list`, points in order with `at` in milliseconds; `others` are other lines than before. */
  function update(list, others) {
    const held = at === null ? null : points[at]?.at;
    points = list;
    lines = others ?? lines;
    if (held !== null) at = points.length ? nearest(points, held) : null;
    draw();
  }

  return { element, update };
}

function swatch(index) {
  return svg(
    'svg',
    { class: 'swatch', width: 18, height: 8, viewBox: '0 0 18 8', 'aria-hidden': 'true' },
    svg('path', { d: 'M0 4H18', class: `line line-${index}` }),
  );
}

function nearest(points, time) {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].at < time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - points[low - 1].at < points[low].at - time ? low - 1 : Math.max(low, 0);
}

/** Round marks from 0 to at least `most`. */
function nice(most, scale) {
  if (!(most > 0)) return [0, 1];
  const unit = scale ** Math.floor(Math.log(most / TICKS) / Math.log(scale));
  const steps =
    scale === 1024
      ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
      : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const step = unit * steps.find((size) => size * unit * TICKS >= most);
  const marks = [0];
  while (marks.at(-1) < most) marks.push(marks.at(-1) + step);
  return marks;
}
