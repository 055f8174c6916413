import type { RefreshMetrics } from '../shared/process/metrics.ts';
import type { ActivityHistory } from './activity-history.ts';
import type { ActivityLog } from './activity-log.ts';
import type { RefreshReport } from './refresh-executions.ts';

/** Refreshes of one vendor that ended alike. */
export interface Refreshed extends Pick<RefreshReport, 'outcome' | 'source'> {
  readonly vendor: string;
  /** One for each refresh: milliseconds since it was asked for, or null where nobody knows. */
  readonly lagsMs: readonly (number | null)[];
}

/** Hears everything that happens in a worker, and is the only one who tells metrics, log and overview of it. */
export class Recorder {
  readonly #metrics: RefreshMetrics;
  readonly #log: ActivityLog;
  readonly #history: Pick<ActivityHistory, 'refreshed' | 'failed'> | undefined;

  /** @param history for the dashboard's overview */
  constructor(parts: {
    readonly metrics: RefreshMetrics;
    readonly log: ActivityLog;
    readonly history?: Pick<ActivityHistory, 'refreshed' | 'failed'>;
  }) {
    this.#metrics = parts.metrics;
    this.#log = parts.log;
    this.#history = parts.history;
  }

  /** Executions were taken in hand. */
  claimed(count: number): void {
    this.#log.claimed(count);
  }

  /** A job was taken back from a worker that was lost. */
  recovered(): void {
    this.#metrics.stalled.inc();
    this.#log.recovered();
  }

  /** Executions are handed to the database together. */
  batch(executions: number): void {
    this.#metrics.batchSize.observe(executions);
  }

  /** A statement was answered, however often it had to be tried or split. */
  statement(ms: number): void {
    this.#log.statement(ms);
  }

  refreshed({ vendor, outcome, source, lagsMs }: Refreshed): void {
    this.#metrics.refreshes.inc({ vendor, outcome }, lagsMs.length);
    for (const lagMs of lagsMs) {
      if (source !== null && lagMs !== null) {
        this.#metrics.lagSeconds.observe({ source }, lagMs / 1_000);
      }
      this.#log.refreshed(outcome === 'changed', lagMs);
      this.#history?.refreshed(lagMs);
    }
  }

  /** An attempt has failed. @param vendor undefined: the job named none */
  failed(vendor: string | undefined): void {
    this.#metrics.refreshes.inc({ vendor: vendor ?? 'invalid', outcome: 'failed' });
    this.#log.failed();
    this.#history?.failed();
  }
}
