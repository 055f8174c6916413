import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { Identity } from '../shared/execution.ts';
import { bullmq } from '../shared/queue/packages.ts';
import { FAILED_PAGE } from '../shared/queue/failed-jobs.ts';
import { REFRESH_QUEUE } from '../shared/queue/queue-names.ts';
import type { Logger } from '../shared/process/logger.ts';
import { JOB_WAIT_S } from '../shared/queue/job-wait.ts';
import { bullmqOptions } from '../shared/queue/refresh-queue.ts';
import type { Probe } from './attempt.ts';
import { Batcher } from './batcher.ts';
import { LostAnswers } from './lost-answers.ts';
import type { Recorder } from './recorder.ts';
import { refreshBatch } from './refresh-batch.ts';
import { RefreshJobs } from './refresh-job.ts';
import type { StoreWatches } from './store-watches.ts';
import { watchWorker, type WatchedWorker } from './watched-worker.ts';

/**
 * Connections to Postgres that a worker opens at most: one for the batch, four for locked
 * executions, one for the rest.
 */
export const WORKER_CONNECTIONS = 6;
const LOCKED_LANES = 4;
interface Parts {
  readonly config: Config;
  /** With the `patient` profile. BullMQ duplicates it for its blocking wait. */
  readonly redis: Redis;
  readonly database: Database;
  readonly probe: Probe;
  readonly stores: StoreWatches;
  readonly recorder: Recorder;
  readonly log: Logger;
  /** Unique among all workers; shown on the dashboard. */
  readonly name: string;
}

/**
 * Creates the worker of the express lane. At least once: a job completes only after its refresh was
 * committed, and the jobs of a lost worker go to another one within lock duration plus stalled
 * interval.
 */
export function createRefreshWorker(parts: Parts): WatchedWorker {
  const { config, database, probe, recorder, log } = parts;

  const batcher = new Batcher({
    maxBatchSize: config.REFRESH_BATCH_SIZE ?? config.WORKER_CONCURRENCY,
    lanes: LOCKED_LANES,
    onBatch: (size) => recorder.batch(size),
    refresh: async (executionIds, wait) => {
      const begin = performance.now();
      const results = await refreshBatch(database, probe, executionIds, wait);
      recorder.statement(performance.now() - begin);
      return results;
    },
  });

  const jobs = new RefreshJobs({ ...parts, batcher });
  const lostAnswers = new LostAnswers(parts.redis, log);
  const worker = new bullmq.Worker<Identity, void, 'refresh'>(
    REFRESH_QUEUE,
    (job, token) => jobs.run(job, token).finally(() => lostAnswers.release(job.id)),
    {
      ...bullmqOptions(config, parts.redis),
      name: parts.name,
      autorun: false,
      concurrency: config.WORKER_CONCURRENCY,
      drainDelay: JOB_WAIT_S,
      lockDuration: config.LOCK_DURATION_MS,
      stalledInterval: config.STALLED_INTERVAL_MS,
      // A lost worker isn't its jobs' fault, and a job's stalls are counted over its whole life.
      maxStalledCount: 1_000,
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
    jobs.failed(job, error);
  });
  worker.on('stalled', () => recorder.recovered());
  lostAnswers.watch(worker);
  return watchWorker(worker, parts);
}
