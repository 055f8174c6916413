import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { describeError } from '../shared/errors.ts';
import type { Identity } from '../shared/execution.ts';
import { bullmq } from '../shared/queue/bullmq.ts';
import { FAILED_PAGE } from '../shared/queue/failed-jobs.ts';
import { REFRESH_QUEUE } from '../shared/queue/queue-names.ts';
import type { Logger } from '../shared/process/logger.ts';
import { JOB_WAIT_S } from '../shared/queue/job-wait.ts';
import { bullmqOptions, readPayload, type RefreshJob } from '../shared/queue/refresh-queue.ts';
import type { Probe } from './attempt.ts';
import { Batcher } from './batcher.ts';
import { decideFailure } from './failed-for-good.ts';
import { LostAnswers } from './lost-answers.ts';
import type { Recorder } from './recorder.ts';
import { refreshBatch } from './refresh-batch.ts';
import type { StoreWatches } from './store-watches.ts';
import { watchWorker, type WatchedWorker } from './watched-worker.ts';

/** Connections a worker holds at most: one batch, four lanes for locked executions, one for the rest. */
export const WORKER_CONNECTIONS = 6;
const LOCKED_LANES = 4;
interface Parts {
  readonly config: Config;
  /** Of the patient profile; BullMQ opens a second one like it for its blocking wait. */
  readonly redis: Redis;
  readonly database: Database;
  readonly probe: Probe;
  readonly stores: StoreWatches;
  readonly recorder: Recorder;
  readonly log: Logger;
  /** Tells this worker from all others; shown on the dashboard. */
  readonly name: string;
}

/**
 * Takes jobs, at least once each: a job is completed only after its refresh was committed, and a
 * worker that is lost has its jobs taken back by another within lock duration + stalled interval.
 */
export function createRefreshWorker(parts: Parts): WatchedWorker {
  const { config, database, probe, stores, recorder, log } = parts;

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

  const process = async (job: RefreshJob, token?: string): Promise<void> => {
    recorder.claimed(1);
    const { executionId, vendor } = payloadOf(job);
    const result = await batcher.refresh(executionId);
    switch (result.kind) {
      case 'refreshed': {
        stores.postgres.reportServed();
        const { outcome, source, lagMs } = result.report;
        recorder.refreshed({ vendor, outcome, source, lagsMs: [lagMs] });
        return;
      }
      case 'failed': {
        const decision = await decideFailure(job, { executionId, vendor }, result.error, parts);
        if (decision.kind !== 'not recorded') throw decision.error;
        if (decision.unavailable) stores.postgres.reportAway(decision.error);
        return giveBack(job, token);
      }
      case 'unavailable':
        stores.postgres.reportAway(result.error);
        return giveBack(job, token);
    }
  };

  const lostAnswers = new LostAnswers(parts.redis, log);
  const worker = new bullmq.Worker<Identity, void, 'refresh'>(
    REFRESH_QUEUE,
    (job, token) => process(job, token).finally(() => lostAnswers.release(job.id)),
    {
      ...bullmqOptions(config, parts.redis),
      name: parts.name,
      autorun: false,
      concurrency: config.WORKER_CONCURRENCY,
      drainDelay: JOB_WAIT_S,
      lockDuration: config.LOCK_DURATION_MS,
      stalledInterval: config.STALLED_INTERVAL_MS,
      // That a worker is lost isn't its jobs' fault, and all of them count a stall together.
      maxStalledCount: 1_000,
      removeOnComplete: { count: 0 },
      // The failed-janitor removes what is too old or too many, in pages; BullMQ would do it in one step
      // that blocks Redis, for example after FAILED_KEEP_COUNT was lowered. This is for when no janitor can work.
      removeOnFail: { age: config.FAILED_KEEP_HOURS * 3_600, limit: FAILED_PAGE },
    },
    lostAnswers.createBackend,
  );

  worker.on('failed', (job, error) => {
    recorder.failed(job && identityOf(job)?.vendor);
    if (job === undefined) return;
    // One that failed before it was begun.
    lostAnswers.release(job.id);
    // Only a job that won't be tried again has its end set.
    if (job.finishedOn === undefined) return;
    log.error(`${job.id} failed for good: ${describeError(error)}`);
  });
  worker.on('stalled', () => recorder.recovered());
  lostAnswers.watch(worker);
  return watchWorker(worker, parts);
}

/** @throws UnrecoverableError when the payload is no refresh: trying again can't help */
function payloadOf(job: RefreshJob): Identity {
  try {
    return readPayload(job.data);
  } catch (error) {
    throw new bullmq.UnrecoverableError(describeError(error));
  }
}

function identityOf(job: RefreshJob): Identity | undefined {
  try {
    return readPayload(job.data);
  } catch {
    return undefined;
  }
}

/** Gives a job back without using an attempt. @throws WaitingError always, by which BullMQ knows */
async function giveBack(job: RefreshJob, token: string | undefined): Promise<never> {
  await job.moveToWait(token);
  throw new bullmq.WaitingError();
}
