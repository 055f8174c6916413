import { expect, it } from 'vitest';
import { chart } from '../../../../dashboard/overview/chart.ts';

function draw(...values: (number | null)[][]): string {
  return chart({
    title: 'A chart',
    now: '',
    series: values.map((list, n) => ({ name: `line ${n}`, values: list })),
    atLeast: 1,
    show: (value) => `${value} u`,
    labels: (values[0] ?? []).map((_, at) => `t${at}`),
    from: 'then',
    to: 'now',
  }).text;
}

it('a time without data is a gap, not a zero', () => {
  const text = draw([1, null, 3], [1, 1, 1]);
  expect(/class="line" d="([^"]*)"/.exec(text)?.[1]?.match(/M/g)).toHaveLength(2);
  expect(/class="line2" d="([^"]*)"/.exec(text)?.[1]?.match(/M/g)).toHaveLength(1);
});

it('the top is a round number that every value is below', () => {
  expect(draw([0, 37])).toContain('>50 u<');
  expect(draw([0, 100])).toContain('>100 u<');
  expect(draw([0, 0])).toContain('>1 u<');
});

it('the top of a chart of times is a round time', () => {
  const text = chart({
    title: 'Lag',
    now: '',
    series: [{ name: 'lag', values: [90_000] }],
    atLeast: 100,
    show: (value) => `${value} ms`,
    tops: [60_000, 120_000],
    labels: ['t0'],
    from: 'then',
    to: 'now',
  }).text;
  expect(text).toContain('>120000 ms<');
});

it('each value can be read', () => {
  const text = draw([4, null]);
  expect(text).toContain('t0: line 0 4 u');
  expect(text).not.toContain('t1:');
});

it('no coordinate in the drawing is NaN', () => {
  expect(draw([], [])).not.toMatch(/NaN|Infinity/);
  expect(draw([0.001, 1e9])).not.toMatch(/NaN|Infinity/);
});
