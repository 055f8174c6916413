import { pino } from 'pino';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ActivityLog } from '../../../workers/activity-log.ts';

let lines: Record<string, unknown>[];
let activity: ActivityLog;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  const write = (line: string): number => lines.push(JSON.parse(line));
  activity = new ActivityLog(pino({ level: 'trace', timestamp: false, base: null }, { write }));
});

afterEach(() => {
  activity.close();
  vi.useRealTimers();
});

function messages(): unknown[] {
  return lines.map(({ msg }) => msg);
}

function times(count: number, action: () => void): void {
  for (let n = 0; n < count; n++) action();
}

it('a worker that does nothing logs nothing', () => {
  vi.advanceTimersByTime(3_600_000);
  expect(lines).toEqual([]);
});

it('a second of work is one line of each kind, in the documented forms', () => {
  times(2, () => activity.recovered());
  times(12, () => activity.claimed(1));
  times(6, () => activity.refreshed(true, 10));
  times(3, () => activity.refreshed(false, null));
  times(1, () => activity.failed());
  activity.statement(4.2);
  activity.statement(3.4);
  vi.advanceTimersByTime(999);
  expect(lines).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(messages()).toEqual([
    'recovered 2 stalled jobs',
    'claimed 12',
    'refreshed 10: 6 changed, 3 unchanged, 1 failed, 8 ms',
  ]);
});

it('each second tells of that second only', () => {
  activity.claimed(1);
  activity.refreshed(true, 500);
  activity.failed();
  activity.recovered();
  activity.statement(100);
  vi.advanceTimersByTime(1_000);
  lines.length = 0;
  activity.refreshed(false, 7);
  activity.statement(2);
  vi.advanceTimersByTime(5_000);
  expect(lines).toEqual([
    {
      level: 30,
      refreshed: 1,
      failed: 0,
      lagMsP99: 7,
      msg: 'refreshed 1: 0 changed, 1 unchanged, 0 failed, 2 ms',
    },
  ]);
});

it("jobs that were claimed and aren't done yet are no refreshes", () => {
  activity.claimed(1);
  vi.advanceTimersByTime(1_000);
  expect(messages()).toEqual(['claimed 1']);
});

it("recovered jobs are a warning, the rest isn't", () => {
  activity.recovered();
  activity.claimed(1);
  activity.failed();
  vi.advanceTimersByTime(1_000);
  expect(lines.map(({ level }) => level)).toEqual([40, 30, 30]);
});

it.each([
  [100, 99],
  [200, 198],
  [1, 1],
])('the p99 of lags from 1 to %d ms, in any order, is %d ms', (count, p99) => {
  for (let lag = count; lag > 0; lag--) activity.refreshed(true, lag);
  vi.advanceTimersByTime(1_000);
  expect(lines).toMatchObject([{ lagMsP99: p99 }]);
});

it('lags are compared as numbers and rounded', () => {
  activity.refreshed(true, 9);
  activity.refreshed(true, 100.4);
  vi.advanceTimersByTime(1_000);
  expect(lines).toMatchObject([{ lagMsP99: 100 }]);
});

it('refreshes of unknown age have no p99', () => {
  activity.refreshed(true, null);
  vi.advanceTimersByTime(1_000);
  expect(lines).toMatchObject([{ refreshed: 1, lagMsP99: null }]);
});

it('closing writes what is left, once, and leaves no timer behind', () => {
  activity.claimed(1);
  activity.close();
  activity.close();
  expect(messages()).toEqual(['claimed 1']);
  expect(vi.getTimerCount()).toBe(0);
});

it('figures are reported each second in which something was done, even if no log is written', () => {
  const told: unknown[] = [];
  const quiet = new ActivityLog(pino({ level: 'silent' }), (figures) => told.push(figures));
  quiet.claimed(3);
  quiet.refreshed(true, 7);
  quiet.failed();
  vi.advanceTimersByTime(5_000);
  quiet.close();
  expect(told).toEqual([{ refreshed: 2, failed: 1, lagMsP99: 7 }]);
});
