import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { readVersion } from './installation.ts';

// Gauges with names of counters, which Prometheus' linter rejects. Each is the sum of one that
// stays.
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/**
 * Creates the registry of one process with the default process metrics and Tally's version. All metric names are
 * defined in this file.
 */
export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  new Gauge({
    name: 'tally_build_info',
    help: 'Always 1; the label tells the version of Tally.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version: readVersion() }, 1);
  return registry;
}

/** A worker's metrics. */
export interface RefreshMetrics {
  readonly refreshes: Counter<'vendor' | 'outcome'>;
  readonly lagSeconds: Histogram<'source'>;
  readonly batchSize: Histogram;
  readonly stalled: Counter;
}

/** Creates a worker's metrics in a registry. */
export function createRefreshMetrics(registry: Registry): RefreshMetrics {
  const registers = [registry];
  return {
    refreshes: new Counter({
      name: 'tally_refreshes_total',
      help: 'Refreshes done, by vendor and outcome.',
      labelNames: ['vendor', 'outcome'],
      registers,
    }),
    lagSeconds: new Histogram({
      name: 'tally_refresh_lag_seconds',
      help: 'Seconds from recording a refresh to completing it, by who recorded it.',
      labelNames: ['source'],
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800],
      registers,
    }),
    batchSize: new Histogram({
      name: 'tally_batch_size',
      help: 'Executions handed to the database together, before a failing batch is split.',
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
      registers,
    }),
    stalled: new Counter({
      name: 'tally_stalled_total',
      help: 'Jobs recovered from lost workers.',
      registers,
    }),
  };
}

/** The failed-janitor's metrics; `reason` is refreshed, superseded (failed again) or retention. */
export interface JanitorMetrics {
  readonly failedRemoved: Counter<'reason'>;
}

/** Creates the failed-janitor's metrics in a registry. */
export function createJanitorMetrics(registry: Registry): JanitorMetrics {
  const failedRemoved = new Counter({
    name: 'tally_failed_removed_total',
    help: 'Failed jobs that Tally removed: refreshed or put right since, failed again since, or too old or too many.',
    labelNames: ['reason'] as const,
    registers: [registry],
  });
  // A series that starts with its first event hides that event from rate().
  for (const reason of ['refreshed', 'superseded', 'retention']) failedRemoved.inc({ reason }, 0);
  return { failedRemoved };
}

/** The producer's gauges of queue and outbox. */
export interface BacklogMetrics {
  readonly queueJobs: Gauge<'state'>;
  readonly failures: Gauge;
  readonly failuresByCause: Gauge<'cause'>;
  readonly outboxRows: Gauge;
  readonly outboxOldestSeconds: Gauge;
  readonly backlogRows: Gauge;
  readonly oldestWaitingSeconds: Gauge;
  readonly workers: Gauge;
  readonly unknownStatusTasks: Gauge<'vendor'>;
}

/**
 * Creates the producer's gauges in a registry.
 * @param collect called before each scrape; sets the gauges whose values can be read now
 */
export function createBacklogMetrics(
  registry: Registry,
  collect: (metrics: BacklogMetrics) => Promise<void>,
): void {
  const registers = [registry];
  // Prometheus' client asks every gauge of a scrape at once; all of them share one measurement.
  let measuring: Promise<void> | undefined;
  const measured = async (): Promise<void> => {
    measuring ??= collect(metrics).finally(() => {
      measuring = undefined;
    });
    await measuring;
  };
  const metrics: BacklogMetrics = {
    queueJobs: new Gauge({
      name: 'tally_queue_jobs',
      help: 'Jobs on the queue, by state.',
      labelNames: ['state'],
      registers,
      collect: measured,
    }),
    failures: new Gauge({
      name: 'tally_failures',
      help: 'Executions whose refresh failed for good and that still need a person.',
      registers,
      collect: measured,
    }),
    failuresByCause: new Gauge({
      name: 'tally_failures_by_cause',
      help: 'The same by SQLSTATE and violated constraint; none: without a SQLSTATE; other: all but the most frequent 20.',
      labelNames: ['cause'],
      registers,
      collect: measured,
    }),
    outboxRows: new Gauge({
      name: 'tally_outbox_rows',
      help: 'Refreshes requested and not yet done; above 100,000 an estimate.',
      registers,
      collect: measured,
    }),
    outboxOldestSeconds: new Gauge({
      name: 'tally_outbox_oldest_seconds',
      help: 'Age of the oldest refresh requested and not yet done.',
      registers,
      collect: measured,
    }),
    backlogRows: new Gauge({
      name: 'tally_backlog_rows',
      help: 'Unsent outbox rows due for at least BACKLOG_AFTER_MS, left to the backlog lane; above 100,000 an estimate.',
      registers,
      collect: measured,
    }),
    oldestWaitingSeconds: new Gauge({
      name: 'tally_oldest_waiting_seconds',
      help: 'Age of the job that is next in line on the queue.',
      registers,
      collect: measured,
    }),
    workers: new Gauge({
      name: 'tally_workers',
      help: 'Workers connected to the queue.',
      registers,
      collect: measured,
    }),
    unknownStatusTasks: new Gauge({
      name: 'tally_unknown_status_tasks',
      help: 'Tasks of the newest executions with a status that the rule does not know, by vendor; 10,000 are looked at.',
      labelNames: ['vendor'],
      registers,
      collect: measured,
    }),
  };
}

/** Creates the counter of refreshes that the reconciler recorded. */
export function createReconcilerMetric(registry: Registry): Counter {
  return new Counter({
    name: 'tally_disagreements_repaired_total',
    help: 'Executions stuck behind their tasks for which the reconciler recorded a refresh.',
    registers: [registry],
  });
}

/** Creates the counter of Harbor's markers that named no execution. */
export function createMalformedMarkersMetric(registry: Registry): Counter {
  return new Counter({
    name: 'tally_malformed_markers_total',
    help: "Harbor's markers that name no execution and were dropped.",
    registers: [registry],
  });
}
