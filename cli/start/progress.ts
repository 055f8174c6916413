import type { Database } from '../../shared/postgres/database.ts';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { summarizeOutbox } from '../../shared/postgres/outbox.ts';
import { countJobs, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import type { WorkerFigures } from '../../workers/activity-log.ts';

const WINDOW_MS = 3_000;

/**
 * What `tally start` shows of the work in progress; a number is null while its store is
 * unavailable.
 */
export interface Progress {
  /**
   * Recorded and not yet in a worker's hands: unsent in the outbox, or waiting or delayed on the
   * queue.
   */
  readonly toDo: number | null;
  readonly running: number | null;
  readonly refreshedPerSecond: number;
  readonly lagMsP99: number | null;
  /**
   * Executions whose stored status isn't what their tasks say, including those whose refresh is on
   * its way.
   */
  readonly outOfDate: number | null;
}

/** What all workers did recently. */
export class RecentRefreshes {
  #seconds: (WorkerFigures & { readonly atMs: number })[] = [];

  /** @param figures of one worker, for the second that has just ended */
  add(figures: WorkerFigures): void {
    this.#seconds.push({ ...figures, atMs: performance.now() });
  }

  /** Refreshes per second, and the highest p99 of any worker in any second, over the last 3 s. */
  summarize(): { refreshedPerSecond: number; lagMsP99: number | null } {
    const since = performance.now() - WINDOW_MS;
    this.#seconds = this.#seconds.filter(({ atMs }) => atMs >= since);
    const refreshed = this.#seconds.reduce((sum, second) => sum + second.refreshed, 0);
    const lags = this.#seconds.flatMap(({ lagMsP99 }) => lagMsP99 ?? []);
    return {
      refreshedPerSecond: Math.round(refreshed / (WINDOW_MS / 1000)),
      lagMsP99: lags.length === 0 ? null : Math.max(...lags),
    };
  }
}

/** Queries both stores; figures from one that doesn't answer are null. Never rejects. */
export async function readProgress(
  database: Database,
  queue: RefreshQueue,
  recent: RecentRefreshes,
): Promise<Progress> {
  const [outbox, counts, outOfDate] = await Promise.all([
    summarizeOutbox(database).catch(() => null),
    countJobs(queue).catch(() => null),
    countDisagreements(database, 'outOfDate').catch(() => null),
  ]);
  return {
    toDo: outbox && counts && outbox.unsent + counts.waiting + counts.delayed,
    running: counts && counts.active,
    outOfDate,
    ...recent.summarize(),
  };
}

/** The parts of a status line, most important first. */
export function describeProgress(progress: Progress, dashboardUrl: string): string[] {
  const show = (value: number | null): string => (value ?? '?').toString();
  return [
    `to do ${show(progress.toDo)}`,
    `running ${show(progress.running)}`,
    `refreshed/s ${progress.refreshedPerSecond}`,
    `p99 lag ${progress.lagMsP99 === null ? '-' : `${progress.lagMsP99} ms`}`,
    `out of date ${show(progress.outOfDate)}`,
    `dashboard ${dashboardUrl}`,
  ];
}
