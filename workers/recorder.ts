import type { RefreshMetrics } from '../shared/process/metrics.ts';
import type { Lane } from '../shared/queue/activity.ts';
import type { ActivityHistory } from './activity-history.ts';
import type { ActivityLog } from './activity-log.ts';
import type { RefreshReport } from './refresh-executions.ts';

/** Refreshes of one vendor with the same outcome. */
export interface Refreshed extends Pick<RefreshReport, 'outcome' | 'source'> {
  readonly vendor: string;
  /** One entry for each refresh: milliseconds since it was requested, or null if nobody knows. */
  readonly lagsMs: readonly (number | null)[];
}

/** The one place where a worker's events go. It passes them on to metrics, log and overview. */
export class Recorder {
  readonly #metrics: RefreshMetrics;
  readonly #log: ActivityLog;
  readonly #history: Pick<ActivityHistory, 'refreshed' | 'failed'> | undefined;

  /**
   * @param parts.history feeds the dashboard's overview; without it, this worker isn't counted
   *   there
   */
  constructor(parts: {
    readonly metrics: RefreshMetrics;
    readonly log: ActivityLog;
    readonly history?: Pick<ActivityHistory, 'refreshed' | 'failed'>;
  }) {
    this.#metrics = parts.metrics;
    this.#log = parts.log;
    this.#history = parts.history;
  }

  /** Executions were claimed. */
  claimed(count: number): void {
    this.#log.claimed(count);
  }

  /** A job was recovered from a lost worker. */
  recovered(): void {
    this.#metrics.stalled.inc();
    this.#log.recovered();
  }

  /** This many executions go to the database in one statement. */
  batch(executions: number): void {
    this.#metrics.batchSize.observe(executions);
  }

  /** A statement was answered, including its retries and splits, after this many milliseconds. */
  statement(ms: number): void {
    this.#log.statement(ms);
  }

  /** Refreshes were committed. */
  refreshed(lane: Lane, { vendor, outcome, source, lagsMs }: Refreshed): void {
    this.#metrics.refreshes.inc({ vendor, outcome }, lagsMs.length);
    for (const lagMs of lagsMs) {
      if (source !== null && lagMs !== null) {
        this.#metrics.lagSeconds.observe({ source }, lagMs / 1_000);
      }
      this.#log.refreshed(outcome === 'changed', lagMs);
      this.#history?.refreshed(lane, lagMs);
    }
  }

  /** An attempt failed. @param vendor undefined if the job has no readable payload */
  failed(vendor: string | undefined): void {
    this.#metrics.refreshes.inc({ vendor: vendor ?? 'invalid', outcome: 'failed' });
    this.#log.failed();
    this.#history?.failed();
  }
}
