import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Outage } from '../../../../shared/process/outage.ts';

let lines: string[];
let outage: Outage;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  const write = (line: string): void => {
    const { level, msg }: { level: number; msg: string } = JSON.parse(line);
    lines.push(`${pino.levels.labels[level]}: ${msg}`);
  };
  outage = new Outage(pino({ level: 'trace' }, { write }), 'Postgres');
});

afterEach(() => vi.useRealTimers());

it('an outage that many calls meet is logged twice, at its end with its length', () => {
  outage.begin(new Error('connect ECONNREFUSED'));
  vi.advanceTimersByTime(700);
  outage.begin(new Error('another'));
  vi.advanceTimersByTime(1_800);
  outage.begin(new Error('and another'));
  outage.end();
  outage.end();
  expect(lines).toEqual([
    'error: Postgres is unavailable: connect ECONNREFUSED; work waits until it is back',
    'info: Postgres is back after 2.5 s',
  ]);
});

it('another cause of the same outage is logged once, when the last line is 5 s old', () => {
  outage.begin(new Error('connect ECONNREFUSED'));
  vi.advanceTimersByTime(6_000);
  outage.begin(new Error('connect ECONNREFUSED'));
  outage.begin(new Error('WRONGPASS'));
  vi.advanceTimersByTime(6_000);
  outage.begin(new Error('WRONGPASS'));
  expect(lines.slice(1)).toEqual([
    'error: Postgres is still unavailable: WRONGPASS; work waits until it is back',
  ]);
});

it('what was never unavailable is never logged as back', () => {
  outage.end();
  expect(lines).toEqual([]);
});

it('the next outage is logged, too, with a length of its own', () => {
  outage.begin('first');
  vi.advanceTimersByTime(60_000);
  outage.end();
  outage.begin('second');
  vi.advanceTimersByTime(1_000);
  outage.end();
  expect(lines).toHaveLength(4);
  expect(lines[2]).toContain('second');
  expect(lines[3]).toBe('info: Postgres is back after 1.0 s');
});

it('an outage is ongoing from its begin to its end', () => {
  const seen = [outage.ongoing];
  outage.begin('away');
  seen.push(outage.ongoing);
  outage.end();
  seen.push(outage.ongoing);
  expect(seen).toEqual([false, true, false]);
});
