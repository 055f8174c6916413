import { lineChart, type Line } from '../support/line-chart.ts';
import { median, type Growth, type Series } from './growth.ts';
import type { Sample } from './sampler.ts';

/** A point of the chart stands for this many seconds. */
const POINT_SECONDS = 20;
const COLORS = ['#15803d', '#1d4ed8', '#7c3aed', '#c2410c', '#0f766e', '#525252'];

type Read = (sample: Sample) => number | undefined;

/**
 * What must not grow. Memory at every sample, since much of it is used only while there is work; all else at the calms,
 * when it must be back where it was.
 * @param lasting the processes that were never ended: a new one starts small and hides a leak
 */
export function seriesOf(samples: readonly Sample[], lasting: readonly string[]): Series[] {
  const calms = samples.filter(({ calm }) => calm);
  const series = (
    name: string,
    of: readonly Sample[],
    read: Read,
    mayGrowByPart: number,
    mayGrowBy: number,
  ): Series => ({ name, points: pointsOf(of, read), mayGrowByPart, mayGrowBy });
  return [
    ...lasting.map((name) => series(`memory of ${name}, MB`, samples, memoryOf(name), 0.15, 10)),
    ...lasting.map((name) =>
      series(`open handles of ${name}`, calms, ({ processes }) => processes[name]?.handles, 0, 5),
    ),
    series('connections to Postgres', calms, ({ postgres }) => postgres?.connections, 0, 5),
    series('connections to Redis', calms, ({ redis }) => redis?.connections, 0, 5),
    series('keys in Redis', calms, ({ redis }) => redis?.keys, 0, 20),
    series('memory of Redis, MB', calms, ({ redis }) => redis?.megabytes, 0.2, 3),
    series("Tally's tables, MB", calms, ({ postgres }) => postgres?.tableMegabytes, 0.5, 5),
    series('their dead rows', calms, ({ postgres }) => postgres?.deadRows, 0.5, 10_000),
  ];
}

/** A Markdown table of what was compared. */
export function growthTable(growths: readonly Growth[]): string {
  const rows = growths.map(
    ({ name, before, after, limit, grew }) =>
      `| ${name} | ${number(before)} | ${number(after)} | ${number(limit)}${grew ? ', GREW' : ''} |`,
  );
  return [
    '| median | second quarter | last quarter | at most |',
    '| --- | --: | --: | --: |',
    ...rows,
  ].join('\n');
}

/** Draws memory over time. @param lasting processes, which get a line each */
export function memoryChart(samples: readonly Sample[], lasting: readonly string[]): string {
  const lines: readonly (readonly [title: string, Read])[] = [
    ...lasting.map((name) => [name, memoryOf(name)] as const),
    ['Redis', ({ redis }) => redis?.megabytes],
    ["Tally's tables", ({ postgres }) => postgres?.tableMegabytes],
  ];
  return lineChart(
    'Memory, and the size of the tables, under load with a fault every minute',
    'minutes',
    'MB',
    lines.map(([title, read], n): Line => ({
      title,
      color: COLORS[n % COLORS.length] ?? '',
      points: thinned(pointsOf(samples, read)).map(([at, value]) => [at / 60, value] as const),
    })),
  );
}

function memoryOf(name: string): Read {
  return ({ processes }) => processes[name]?.megabytes;
}

function pointsOf(samples: readonly Sample[], read: Read): Series['points'] {
  return samples.flatMap((sample) => {
    const value = read(sample);
    return value === undefined ? [] : [[sample.seconds, value] as const];
  });
}

function thinned(points: Series['points']): Series['points'] {
  const spans = new Map<number, number[]>();
  for (const [at, value] of points) {
    const span = Math.floor(at / POINT_SECONDS);
    spans.set(span, [...(spans.get(span) ?? []), value]);
  }
  return [...spans].map(([span, values]) => [(span + 0.5) * POINT_SECONDS, median(values)]);
}

function number(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 20 ? 1 : 0 });
}
