import { expect, it } from 'vitest';
import type { ChartData } from '../../../../dashboard/browser/chart-data.ts';
import { CHART_STYLE } from '../../../../dashboard/overview/chart-style.ts';
import { chart } from '../../../../dashboard/overview/chart.ts';
import { PAGE_STYLE } from '../../../../dashboard/page-style.ts';

const LOOKS = ['express', 'express-half', 'backlog', 'failures'] as const;

function draw(...lines: (number | null)[][]): string {
  const data: ChartData = {
    unit: 'per second',
    atLeast: 1,
    ends: (lines[0] ?? []).map((_, at) => 1_800_000_000 + 10 * at),
    series: lines.map((values, n) => ({
      name: `line ${n}`,
      look: LOOKS[n] ?? 'express',
      values,
    })),
  };
  const rows = [{ endMs: 1_800_000_000_000, values: [12_345.6, null] }];
  return chart({ title: 'A chart', data, newestSeconds: 10, rows }).text;
}

it('a time without data is a gap, not a zero', () => {
  const text = draw([1, null, 3], [1, 1, 1]);
  expect(/class="express" d="([^"]*)"/.exec(text)?.[1]?.match(/M/g)).toHaveLength(2);
  expect(/class="express-half" d="([^"]*)"/.exec(text)?.[1]?.match(/M/g)).toHaveLength(1);
});

it('the newest values stand beside their names, and say what they cover', () => {
  const text = draw([1, 2.5], [3, null]).replaceAll(/\s+/g, ' ');
  expect(text).toContain('line 0 <span class="value" data-owned>2.5/s</span>');
  expect(text).toContain('line 1 <span class="value" data-owned>–</span>');
  expect(text).toContain('last 10 s');
});

it('values stand in a table, too', () => {
  const text = draw([1], [2]).replaceAll(/\s+/g, ' ');
  expect(text).toContain('<th scope="row">08:00</th> <td>12,346/s</td><td>–</td>');
});

it('no coordinate in the drawing is NaN', () => {
  expect(draw([], [])).not.toMatch(/NaN|Infinity/);
  expect(draw([0.001, 1e9])).not.toMatch(/NaN|Infinity/);
});

it.each([
  ['light', 0],
  ['dark', 1],
])('every line stands out from its card when it is %s', (_theme, n) => {
  const card = colours(PAGE_STYLE, 'card')[n] ?? '';
  for (const look of LOOKS) {
    const [line = ''] = colours(CHART_STYLE, look).slice(n);
    expect(contrast(line, card), `${look} ${line} on ${card}`).toBeGreaterThan(3);
  }
});

function colours(style: string, name: string): string[] {
  return [...style.matchAll(new RegExp(`--${name}: (#[0-9a-f]{6})`, 'g'))].map(([, c]) => c ?? '');
}

// WCAG 2.2: relative luminance and contrast ratio.
function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].toSorted((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
