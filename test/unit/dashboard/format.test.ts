import { expect, it } from 'vitest';
import { ago, counted, duration, moment, number } from '../../../dashboard/format.ts';

it.each([
  [0, '0 ms'],
  [999.4, '999 ms'],
  [1_000, '1.0 s'],
  [9_949, '9.9 s'],
  [59_400, '59 s'],
  [60_000, '1 min'],
  [185_000, '3 min 5 s'],
  [3_600_000, '1 h'],
  [90 * 60_000, '1 h 30 min'],
  [52 * 3_600_000, '2 d 4 h'],
])('%i ms is a duration of %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it.each([
  [0, '0'],
  [0.25, '0.3'],
  [12.7, '13'],
  [1_234_567, '1,234,567'],
])('%d is written %s', (value, text) => {
  expect(number(value)).toBe(text);
});

it('a moment is shown in UTC, with how far it is away in either direction', () => {
  const now = Date.parse('2026-01-02T03:04:05Z');
  expect(moment('2026-01-02T03:03:55.500Z', now).text).toContain('2026-01-02 03:03:55');
  expect(moment('2026-01-02T03:03:55.500Z', now).text).toContain('9.5 s ago');
  expect(ago(now + 2_000, now)).toBe('in 2.0 s');
  expect(moment(null, now).text).toContain('none');
});

it('one is counted in the singular', () => {
  expect([counted(1, 'job'), counted(2, 'job'), counted(0, 'try', 'tries')]).toEqual([
    '1 job',
    '2 jobs',
    '0 tries',
  ]);
});
