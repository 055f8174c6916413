import { once } from 'node:events';
import { UnrecoverableError, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { describeError } from '../shared/errors.ts';
import type { Identity } from '../shared/execution.ts';
import { settingsOf } from '../shared/queue/redis.ts';
import { FAILED_PAGE } from '../shared/queue/failed-jobs.ts';
import type { Logger } from '../shared/process/logger.ts';
import type { RefreshMetrics } from '../shared/process/metrics.ts';
import {
  bullmqOptions,
  readPayload,
  REFRESH_QUEUE,
  type RefreshJob,
} from '../shared/queue/refresh-queue.ts';
import type { ActivityLog } from './activity-log.ts';
import { Batcher } from './batcher.ts';
import { DatabaseWatch } from './database-watch.ts';
import { decideFailure } from './failed-for-good.ts';
import { LostAnswers } from './lost-answers.ts';
import { PauseSwitch } from './pause-switch.ts';
import { QueueWatch } from './queue-watch.ts';
import { refreshBatch, type Probe } from './refresh-batch.ts';
import type { RefreshReport } from './refresh-executions.ts';

/** Connections a worker holds at most: one batch, four lanes for locked executions, one for the rest. */
export const WORKER_CONNECTIONS = 6;
const LOCKED_LANES = 4;
// Redis' own outages are logged where the connection is, lost locks by an event of their own.
const REPEAT_AFTER_MS = 60_000;
const SAID_ELSEWHERE =
  /^(connect |Connection is closed|Socket timeout|read |write |could not renew lock )/;

export interface RefreshWorker {
  /** Starts to take jobs. */
  start(): void;
  readonly running: boolean;
  /** Whether its connections to Redis, that for jobs and that for waiting, are there. */
  readonly connected: boolean;
  /** Tells what a probe of the queue has found: a Redis that refuses pauses the worker until a probe succeeds. */
  reportQueueProblem(problem: unknown): void;
  /** Takes no more jobs, finishes those in hand. */
  close(): Promise<void>;
}

interface Parts {
  readonly config: Config;
  /** Of the patient profile; BullMQ opens a second one like it for its blocking wait. */
  readonly redis: Redis;
  readonly database: Database;
  readonly probe: Probe;
  /** Resolves when the queue's Redis takes what a job needs; its error says what to do. */
  readonly probeQueue: Probe;
  readonly metrics: RefreshMetrics;
  readonly activity: ActivityLog;
  readonly log: Logger;
  /** Tells this worker from all others; shown on the dashboard. */
  readonly name: string;
}

/**
 * Takes jobs, at least once each: a job is completed only after its refresh was committed, and a
 * worker that is lost has its jobs taken back by another within lock duration + stalled interval.
 */
export function createRefreshWorker(parts: Parts): RefreshWorker {
  const { config, database, probe, metrics, activity, log } = parts;

  const batcher = new Batcher({
    maxBatchSize: config.REFRESH_BATCH_SIZE ?? config.WORKER_CONCURRENCY,
    lanes: LOCKED_LANES,
    onBatch: (size) => metrics.batchSize.observe(size),
    refresh: async (executionIds, wait) => {
      const begin = performance.now();
      const results = await refreshBatch(database, probe, executionIds, wait);
      activity.batch(performance.now() - begin);
      return results;
    },
  });

  const watch = new DatabaseWatch(log, {
    probe,
    onAway: () => pauses.hold('Postgres'),
    onBack: () => pauses.release('Postgres'),
  });
  const queueWatch = new QueueWatch(log, {
    probe: parts.probeQueue,
    settings: settingsOf(parts.redis, config),
    onAway: () => pauses.hold('Redis'),
    onBack: () => pauses.release('Redis'),
  });

  const process = async (job: RefreshJob, token?: string): Promise<void> => {
    activity.claimed();
    const { executionId, vendor } = payloadOf(job);
    const result = await batcher.refresh(executionId);
    switch (result.kind) {
      case 'refreshed':
        watch.reportServed();
        count(result.report, vendor);
        return;
      case 'failed': {
        const decision = await decideFailure(job, { executionId, vendor }, result.error, parts);
        if (decision.kind !== 'not recorded') throw decision.error;
        if (decision.unavailable) watch.reportAway(decision.error);
        return giveBack(job, token);
      }
      case 'unavailable':
        watch.reportAway(result.error);
        return giveBack(job, token);
    }
  };

  const count = ({ outcome, source, lagMs }: RefreshReport, vendor: string): void => {
    metrics.refreshes.inc({ vendor, outcome });
    if (source !== null && lagMs !== null) metrics.lagSeconds.observe({ source }, lagMs / 1000);
    activity.refreshed(outcome === 'changed', lagMs);
  };

  const lostAnswers = new LostAnswers(parts.redis, log);
  const worker = new Worker<Identity, void, 'refresh'>(
    REFRESH_QUEUE,
    (job, token) => process(job, token).finally(() => lostAnswers.release(job.id)),
    {
      ...bullmqOptions(config, parts.redis),
      name: parts.name,
      autorun: false,
      concurrency: config.WORKER_CONCURRENCY,
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

  const pauses = new PauseSwitch(worker);
  let waiting: { readonly status: string } | undefined;
  void worker
    .getBackend()
    .blockingClient?.then((client) => (waiting = client))
    // It ended before it was there, at a stop.
    .catch(() => undefined);
  const isConnected = (): boolean => parts.redis.status === 'ready' && waiting?.status === 'ready';

  worker.on('completed', () => queueWatch.reportServed());
  worker.on('failed', (job, error) => {
    activity.failed();
    if (job === undefined) return;
    // One that failed before it was begun.
    lostAnswers.release(job.id);
    const identity = identityOf(job);
    metrics.refreshes.inc({ vendor: identity?.vendor ?? 'invalid', outcome: 'failed' });
    // Only a job that won't be tried again has its end set.
    if (job.finishedOn === undefined) return;
    log.error(`${job.id} failed for good: ${describeError(error)}`);
  });
  worker.on('stalled', () => {
    metrics.stalled.inc();
    activity.recovered();
  });
  worker.on('lockRenewalFailed', (jobIds: string[]) => {
    log.warn(`lost the locks of ${jobIds.length} jobs; they are done again by another worker`);
  });
  const saidAtMs = new Map<string, number>();
  worker.on('error', (error) => {
    if (queueWatch.reportError(error)) return;
    // BullMQ says the same for each job, and after a freeze or a flush several things by turns.
    const text = describeError(error).replaceAll(/\d+:[\w.~-]+:[\w-]+/g, '<job>');
    if (SAID_ELSEWHERE.test(text)) return;
    const nowMs = performance.now();
    if (nowMs - (saidAtMs.get(text) ?? -Infinity) < REPEAT_AFTER_MS) return;
    if (saidAtMs.size > 100) saidAtMs.clear();
    saidAtMs.set(text, nowMs);
    log.warn(`queue: ${describeError(error)}`);
  });

  lostAnswers.watch(worker);
  return {
    start: () =>
      void worker.run().catch((error: unknown) => log.error({ err: error }, 'worker ended')),
    get running() {
      return worker.isRunning() && !watch.away && !queueWatch.away;
    },
    get connected() {
      return isConnected();
    },
    reportQueueProblem: (problem) => {
      // Before the start, whoever waits for the queue says it.
      if (worker.isRunning()) queueWatch.reportFound(problem);
    },
    close: async () => {
      watch.close();
      queueWatch.close();
      // Without Redis no job can be completed, and BullMQ would wait for that without end.
      const closing = worker.close(!isConnected());
      await Promise.race([closing, once(parts.redis, 'close')]);
    },
  };
}

/** @throws UnrecoverableError when the payload is no refresh: trying again can't help */
function payloadOf(job: RefreshJob): Identity {
  try {
    return readPayload(job.data);
  } catch (error) {
    throw new UnrecoverableError(describeError(error));
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
  throw new WaitingError();
}
