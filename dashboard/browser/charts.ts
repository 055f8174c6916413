import type uPlotModule from 'uplot';
import {
  isLogarithmic,
  LAG_LINES_MS,
  LAG_MIN_MS,
  quantity,
  timeOf,
  type ChartData,
  type Look,
} from './chart-data.ts';

// uPlot is a script of its own, which runs before this one.
declare const uPlot: typeof uPlotModule;

const HEIGHT = 180;
const PAGE_STEPS = 10;
// A constant of uPlot's types only.
const LOGARITHMIC: object = { distr: 3 };
const DASHES: Readonly<Record<Look, readonly number[]>> = {
  express: [],
  'express-half': [6, 4],
  backlog: [],
  failures: [2, 4],
};

/** A chart of the page that is open. */
interface Drawn {
  readonly figure: HTMLElement;
  readonly host: HTMLElement;
  readonly plot: uPlotModule;
  /** The attribute that it was drawn from. */
  json: string;
  data: ChartData;
}

const drawn = new Map<HTMLElement, Drawn>();
/** The time that is read, in seconds since 1970; the same on all charts. Null: the newest. */
let readAt: number | null = null;

/** Draws new charts, redraws those with other data, and forgets those that are gone. */
function drawAll(): void {
  for (const [figure, { plot }] of drawn) {
    if (figure.isConnected) continue;
    plot.destroy();
    drawn.delete(figure);
  }
  for (const figure of document.querySelectorAll<HTMLElement>('figure[data-chart]')) {
    const json = figure.dataset['chart'] ?? '';
    const chart = drawn.get(figure);
    if (chart === undefined) draw(figure, json);
    else if (chart.json !== json) {
      chart.json = json;
      chart.data = JSON.parse(json) as ChartData;
      chart.plot.setData(columnsOf(chart.data));
    }
  }
  read(readAt);
}

function draw(figure: HTMLElement, json: string): void {
  const host = figure.querySelector<HTMLElement>('.interactive');
  if (host === null) return;
  const data = JSON.parse(json) as ChartData;
  // Shown before it is measured: it is hidden while it is empty.
  const root = host.appendChild(document.createElement('div'));
  const plot = new uPlot(optionsOf(data, host.clientWidth), columnsOf(data), root);
  const chart: Drawn = { figure, host, plot, json, data };
  drawn.set(figure, chart);
  new ResizeObserver(() => {
    if (host.clientWidth > 0) plot.setSize({ width: host.clientWidth, height: HEIGHT });
    read(readAt);
  }).observe(host);
  listen(chart);
}

function columnsOf({ ends, series }: ChartData): uPlotModule.AlignedData {
  return [[...ends], ...series.map(({ values }) => [...values])];
}

function optionsOf(data: ChartData, width: number): uPlotModule.Options {
  const { unit, atLeast, series } = data;
  const nothing = (): null => null;
  const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
  return {
    width,
    height: HEIGHT,
    // A time at the right end has half of its label beyond it.
    padding: [8, 20, 0, 0],
    legend: { show: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), 'Etc/UTC'),
    // Pointers are followed below, where a finger and the keyboard do the same as a mouse.
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 8 },
      bind: {
        mousedown: nothing,
        mouseup: nothing,
        mousemove: nothing,
        mouseenter: nothing,
        mouseleave: nothing,
        click: nothing,
        dblclick: nothing,
      },
    },
    scales: {
      x: { range: (_plot, min, max) => [min, max] },
      y: isLogarithmic(unit)
        ? {
            ...LOGARITHMIC,
            range: (_plot, _min, max) => [LAG_MIN_MS, Math.max(atLeast, max) * 1.2],
          }
        : { range: (_plot, _min, max) => [0, Math.max(atLeast, max) * 1.04] },
    },
    axes: [
      {
        font,
        size: 26,
        space: 70,
        stroke: () => colour('--quiet'),
        grid: { show: false },
        ticks: { stroke: () => colour('--line'), size: 4 },
        values: (_plot, splits) => splits.map(timeOf),
      },
      {
        font,
        space: 34,
        size: (_plot, values) =>
          14 + 7 * Math.max(0, ...(values ?? []).map(({ length }) => length)),
        stroke: () => colour('--quiet'),
        grid: { stroke: () => colour('--line'), width: 1 },
        ticks: { show: false },
        values: (_plot, splits) => splits.map((value) => quantity(unit, value).replace('.0 ', ' ')),
        ...(isLogarithmic(unit)
          ? {
              splits: (plot: uPlotModule) =>
                LAG_LINES_MS.filter((value) => value <= (plot.scales['y']?.max ?? 0)),
              filter: (_plot: uPlotModule, splits: number[]) => splits,
            }
          : {}),
      },
    ],
    series: [
      {},
      ...series.map(({ name, look }): uPlotModule.Series => ({
        label: name,
        stroke: () => colour(`--${look}`),
        width: look === 'backlog' ? 2.25 : 1.75,
        dash: [...DASHES[look]],
        points: { size: 4 },
      })),
    ],
  };
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Shows the values at a time on all charts; null shows the newest ones. */
function read(time: number | null): void {
  const oldest = Math.min(...[...drawn.values()].map(({ data }) => data.ends[0] ?? 0));
  readAt = time === null || time < oldest ? null : time;
  for (const { figure, host, plot, data } of drawn.values()) {
    const last = data.ends.length - 1;
    const at = readAt === null ? last : plot.valToIdx(readAt);
    const end = data.ends[at];
    if (end === undefined) continue;
    const left = readAt === null ? -10 : plot.valToPos(end, 'x');
    plot.setCursor({ left, top: readAt === null ? -10 : 0 }, false);
    const seconds = end - (data.ends[at - 1] ?? end);
    const time = readAt === null ? `last ${span(seconds)}` : `${timeOf(end)} UTC`;
    say(figure.querySelector('.at'), time);
    const values = data.series.map((each) => quantity(data.unit, each.values[at] ?? null));
    figure.querySelectorAll('.keys .value').forEach((value, n) => say(value, values[n] ?? ''));
    const text = data.series.map(({ name }, n) => `${name} ${values[n]}`).join(', ');
    const attributes = {
      'aria-valuemax': String(last),
      'aria-valuenow': String(at),
      'aria-valuetext': `${time}: ${text}`,
    };
    for (const [name, value] of Object.entries(attributes)) host.setAttribute(name, value);
  }
}

function span(seconds: number): string {
  return quantity('milliseconds', seconds * 1_000);
}

function say(element: Element | null, text: string): void {
  if (element !== null && element.textContent !== text) element.textContent = text;
}

/** Lets a chart be read like a slider, whose value is a time. */
function listen(chart: Drawn): void {
  const { host, plot, figure } = chart;
  const title = figure.querySelector('h2')?.textContent ?? '';
  host.setAttribute('role', 'slider');
  host.setAttribute('tabindex', '0');
  host.setAttribute('aria-label', `${title}, read with the arrow keys`);
  host.setAttribute('aria-valuemin', '0');
  const follow = (event: PointerEvent): void => {
    const left = event.clientX - plot.over.getBoundingClientRect().left;
    read(chart.data.ends[plot.posToIdx(left)] ?? null);
  };
  plot.over.addEventListener('pointerdown', follow);
  plot.over.addEventListener('pointermove', follow);
  plot.over.addEventListener('pointerleave', ({ pointerType }) => {
    // What a finger has read stays when it is lifted.
    if (pointerType === 'mouse') read(null);
  });
  host.addEventListener('keydown', (event) => {
    const { ends } = chart.data;
    const at = readAt === null ? ends.length - 1 : plot.valToIdx(readAt);
    const to = placeAfter(event.key, at, ends.length - 1);
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    read(to === null ? null : (ends[to] ?? null));
  });
}

/** Where a key leads from a place; null: back to the newest, undefined: the key means nothing. */
function placeAfter(key: string, at: number, last: number): number | null | undefined {
  const within = (place: number): number => Math.min(last, Math.max(0, place));
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return within(at - 1);
    case 'ArrowRight':
    case 'ArrowUp':
      return within(at + 1);
    case 'PageDown':
      return within(at - PAGE_STEPS);
    case 'PageUp':
      return within(at + PAGE_STEPS);
    case 'Home':
      return 0;
    case 'End':
      return last;
    case 'Escape':
      return null;
    default:
      return undefined;
  }
}

document.addEventListener('pointerdown', ({ target }) => {
  if (!(target instanceof Element) || target.closest('.interactive') === null) read(null);
});

// Another range takes its place without a reload.
document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest('a[data-range]') : null;
  if (!(link instanceof HTMLAnchorElement) || event.button !== 0) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  history.replaceState(null, '', link.href);
  document.dispatchEvent(new Event('tally:update'));
});

document.addEventListener('tally:updated', drawAll);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const { plot } of drawn.values()) plot.redraw(false);
});
drawAll();
