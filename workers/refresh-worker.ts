import type { Database } from '../shared/postgres/database.ts';
import type { Identity } from '../shared/execution.ts';
import { bullmq } from '../shared/queue/packages.ts';
import { FAILED_PAGE } from '../shared/queue/failed-jobs.ts';
import { REFRESH_QUEUE } from '../shared/queue/queue-names.ts';
import type { RefreshJob } from '../shared/queue/refresh-queue.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';
import { Batcher } from './batcher.ts';
import { LostAnswers } from './lost-answers.ts';
import { refreshBatch } from './refresh-batch.ts';
import { RefreshJobs } from './refresh-job.ts';
import {
  watchWorker,
  workerOptions,
  type WatchedWorker,
  type WorkerParts,
} from './watched-worker.ts';

/**
 * Connections to Postgres that a worker opens at most: one for the batch, four for locked
 * executions, one for the rest.
 */
export const WORKER_CONNECTIONS = 6;
const LOCKED_LANES = 4;

interface Parts extends WorkerParts {
  readonly database: Database;
  readonly tracing?: Tracing | undefined;
}

/**
 * Creates the worker of the express lane. At least once: a job completes only after its refresh was
 * committed, and the jobs of a lost worker go to another one within lock duration plus stalled
 * interval.
 */
export function createRefreshWorker(parts: Parts): WatchedWorker {
  const { config, database, probe, recorder, log, tracing } = parts;

  const batcher = new Batcher({
    maxBatchSize: config.REFRESH_BATCH_SIZE ?? config.WORKER_CONCURRENCY,
    lanes: LOCKED_LANES,
    onBatch: (size) => recorder.batch(size),
    refresh: async (executionIds, wait) => {
      const begin = performance.now();
      const results = await (tracing === undefined
        ? refreshBatch(database, probe, executionIds, wait)
        : tracing.batch(executionIds, () => refreshBatch(database, probe, executionIds, wait)));
      recorder.statement(performance.now() - begin);
      return results;
    },
  });

  const jobs = new RefreshJobs({ ...parts, batcher });
  const lostAnswers = new LostAnswers(parts.redis, log);
  const run = (job: RefreshJob, token?: string): Promise<void> =>
    jobs.run(job, token).finally(() => lostAnswers.release(job.id));
  const worker = new bullmq.Worker<Identity, void, 'refresh'>(
    REFRESH_QUEUE,
    tracing === undefined ? run : (job, token) => tracing.job(job, () => run(job, token)),
    {
      ...workerOptions(parts),
      concurrency: config.WORKER_CONCURRENCY,
      removeOnComplete: { count: 0 },
      // The failed-janitor removes old and surplus failed jobs in pages. BullMQ would do it in one
      // script that blocks Redis, for example after FAILED_KEEP_COUNT was lowered. This is the
      // fallback for when no janitor can work.
      removeOnFail: { age: config.FAILED_KEEP_HOURS * 3_600, limit: FAILED_PAGE },
    },
    lostAnswers.createBackend,
  );

  worker.on('failed', (job, error) => {
    if (job === undefined) {
      recorder.failed(undefined);
      return;
    }
    // The job may have failed before it started.
    lostAnswers.release(job.id);
    if (tracing === undefined) jobs.failed(job, error);
    else tracing.afterFailure(job, () => jobs.failed(job, error));
  });
  lostAnswers.watch(worker, parts.stores);
  return watchWorker(worker, parts);
}
