import type { Redis } from 'ioredis';
import type { Registry } from 'prom-client';
import { countBacklog } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { Config } from '../shared/process/config.ts';
import { createBacklogMetrics } from '../shared/process/metrics.ts';
import { countByClass } from '../shared/failures/cause-classes.ts';
import { countFailuresByCause } from '../shared/postgres/failures.ts';
import { summarizeOutbox } from '../shared/postgres/outbox.ts';
import { findUnknownStatuses } from '../shared/postgres/unknown-statuses.ts';
import { connectedWorkers } from '../shared/queue/connected-workers.ts';
import {
  countJobs,
  oldestWaitingSeconds,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly queue: RefreshQueue;
  readonly redis: Redis;
}

/**
 * Measures queue, outbox and unknown statuses at each scrape. While a store is unavailable, its
 * gauges have no value.
 */
export function measureBacklog(
  registry: Registry,
  { config, database, queue, redis }: Parts,
): void {
  createBacklogMetrics(registry, async (metrics) => {
    const summary = summarizeOutbox(database);
    const [outbox, backlog, counts, oldest, workers, failures, unknown] = await Promise.allSettled([
      summary,
      countBacklog(database, config.BACKLOG_AFTER_MS, summary),
      countJobs(queue),
      oldestWaitingSeconds(queue),
      connectedWorkers(queue, redis),
      countFailuresByCause(database),
      findUnknownStatuses(database),
    ]);
    metrics.outboxRows.remove();
    metrics.outboxOldestSeconds.remove();
    metrics.backlogRows.remove();
    metrics.queueJobs.reset();
    metrics.oldestWaitingSeconds.remove();
    metrics.workers.remove();
    metrics.failures.remove();
    metrics.failuresByCause.reset();
    metrics.unknownStatusTasks.reset();
    if (outbox.status === 'fulfilled') {
      metrics.outboxRows.set(outbox.value.rows);
      metrics.outboxOldestSeconds.set(outbox.value.oldestSeconds ?? 0);
    }
    if (backlog.status === 'fulfilled') metrics.backlogRows.set(backlog.value);
    if (counts.status === 'fulfilled') {
      for (const [state, count] of Object.entries(counts.value)) {
        metrics.queueJobs.set({ state }, count);
      }
    }
    if (oldest.status === 'fulfilled') metrics.oldestWaitingSeconds.set(oldest.value ?? 0);
    if (workers.status === 'fulfilled') metrics.workers.set(workers.value.length);
    if (failures.status === 'fulfilled') {
      metrics.failures.set(failures.value.reduce((sum, { count }) => sum + count, 0));
      for (const [cause, count] of countByClass(failures.value)) {
        metrics.failuresByCause.set({ cause }, count);
      }
    }
    if (unknown.status === 'fulfilled') {
      for (const { vendor, tasks } of unknown.value) {
        metrics.unknownStatusTasks.inc({ vendor }, tasks);
      }
    }
  });
}
