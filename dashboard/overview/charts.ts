import {
  joinPoints,
  lagPercentile,
  RANGES,
  type ActivityHistory,
  type ActivityPoint,
  type Range,
} from '../../shared/queue/activity-history.ts';
import type { ChartData, Look, Unit } from '../browser/chart-data.ts';
import { counted } from '../format.ts';
import { html, type Html } from '../html.ts';
import { chart } from './chart.ts';

const TABLE_ROWS = 30;
const NAMES: Readonly<Record<Range, string>> = { '15m': '15 min', '1h': '1 h', '24h': '24 h' };

interface Line {
  readonly name: string;
  readonly look: Look;
  readonly value: (point: ActivityPoint) => number | null;
}

const RATES: readonly Line[] = [
  { name: 'Express lane', look: 'express', value: (p) => rate(p.express.refreshed, p) },
  { name: 'Backlog lane', look: 'backlog', value: (p) => rate(p.backlog.refreshed, p) },
  { name: 'Failed tries', look: 'failures', value: (p) => rate(p.failed, p) },
];
const LAGS: readonly Line[] = [
  { name: 'Express 99%', look: 'express', value: (p) => lagPercentile(p.express, 0.99) },
  { name: 'Express half', look: 'express-half', value: (p) => lagPercentile(p.express, 0.5) },
  { name: 'Backlog 99%', look: 'backlog', value: (p) => lagPercentile(p.backlog, 0.99) },
];

/** The range that a request asks for; a quarter of an hour unless it names another. */
export function rangeOf(asked: unknown): Range {
  return RANGES.find((range) => range === asked) ?? '15m';
}

/**
 * Both charts of the overview, and the choice of their range.
 * @param overview address of the overview, without a query
 */
export function charts(history: ActivityHistory, overview: string): Html {
  const { points, range } = history;
  const failed = points.reduce((sum, point) => sum + point.failed, 0);
  const size = Math.ceil(points.length / TABLE_ROWS);
  const rows = Array.from({ length: Math.ceil(points.length / size) }, (_, n) =>
    // Grouped from the newest, so that only the oldest row may cover less.
    joinPoints(points.slice(-size * (n + 1), n === 0 ? undefined : -size * n)),
  );
  const draw = (title: string, unit: Unit, atLeast: number, lines: readonly Line[]): Html =>
    chart({
      title,
      note:
        lines === RATES &&
        failed > 0 &&
        html`<span class="bad">${counted(failed, 'failed try', 'failed tries')}</span>`,
      data: dataOf(points, unit, atLeast, lines),
      newestSeconds: points.at(-1)?.seconds ?? 0,
      rows: rows.map((point) => ({
        endMs: point.endMs,
        values: lines.map(({ value }) => value(point)),
      })),
    });
  return html`<nav class="ranges wide" aria-label="Range of the charts" data-key="ranges">
      ${RANGES.map((each) => html`<a href="${overview}?range=${each}" data-range="${each}" data-key="${each}" ${each === range && html`aria-current="true"`}>${NAMES[each]}</a>`)}
    </nav>
    ${draw('Refreshes a second', 'per second', 1, RATES)}
    ${draw('From change to refresh', 'milliseconds', 1_000, LAGS)}`;
}

function dataOf(
  points: readonly ActivityPoint[],
  unit: Unit,
  atLeast: number,
  lines: readonly Line[],
): ChartData {
  return {
    unit,
    atLeast,
    ends: points.map(({ endMs }) => endMs / 1_000),
    series: lines.map(({ name, look, value }) => ({ name, look, values: points.map(value) })),
  };
}

// One decimal is shown.
function rate(count: number, { seconds }: ActivityPoint): number {
  return Math.round((count / seconds) * 10) / 10;
}
