import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  describeProgress,
  RecentRefreshes,
  type Progress,
} from '../../../../cli/start/progress.ts';

describe('RecentRefreshes', () => {
  let recent: RecentRefreshes;

  beforeEach(() => {
    vi.useFakeTimers();
    recent = new RecentRefreshes();
  });

  afterEach(() => vi.useRealTimers());

  function add(refreshed: number, lagMsP99: number | null): void {
    recent.add({ refreshed, failed: 0, lagMsP99 });
  }

  it('without figures the rate is 0 and the lag unknown', () => {
    expect(recent.summarize()).toEqual({ refreshedPerSecond: 0, lagMsP99: null });
  });

  it('refreshes of all workers are added up, and the highest lag counts', () => {
    add(300, 20);
    add(600, 90);
    add(301, null);
    expect(recent.summarize()).toEqual({ refreshedPerSecond: 400, lagMsP99: 90 });
  });

  it('a rate is rounded to a whole number', () => {
    add(5, null);
    expect(recent.summarize().refreshedPerSecond).toBe(2);
  });

  it('a lag of 0 ms is a lag', () => {
    add(1, 0);
    expect(recent.summarize().lagMsP99).toBe(0);
  });

  it("figures older than 3 s don't count", () => {
    add(300, 500);
    vi.advanceTimersByTime(2_000);
    add(600, 20);
    vi.advanceTimersByTime(1_000);
    expect(recent.summarize()).toEqual({ refreshedPerSecond: 300, lagMsP99: 500 });
    vi.advanceTimersByTime(1);
    expect(recent.summarize()).toEqual({ refreshedPerSecond: 200, lagMsP99: 20 });
    vi.advanceTimersByTime(2_000);
    expect(recent.summarize()).toEqual({ refreshedPerSecond: 0, lagMsP99: null });
  });
});

describe('describeProgress', () => {
  const progress: Progress = {
    toDo: 1_200,
    running: 400,
    refreshedPerSecond: 20_000,
    lagMsP99: 87,
    outOfDate: 3,
  };

  it('is one line with every number and where the dashboard is', () => {
    expect(describeProgress(progress, 'http://127.0.0.1:3000').join(' | ')).toBe(
      'to do 1200 | running 400 | refreshed/s 20000 | p99 lag 87 ms | out of date 3 | dashboard http://127.0.0.1:3000',
    );
  });

  it('shows a number that nobody can know now as ?, and zeros as zeros', () => {
    const away: Progress = {
      toDo: null,
      running: 0,
      refreshedPerSecond: 0,
      lagMsP99: null,
      outOfDate: null,
    };
    expect(describeProgress(away, 'http://x').join(' | ')).toBe(
      'to do ? | running 0 | refreshed/s 0 | p99 lag - | out of date ? | dashboard http://x',
    );
    expect(describeProgress({ ...away, lagMsP99: 0 }, 'http://x')).toContain('p99 lag 0 ms');
  });
});
