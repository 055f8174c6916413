import { once } from 'node:events';
import type { Worker, WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import { JOB_WAIT_S } from '../shared/queue/job-wait.ts';
import { bullmqOptions } from '../shared/queue/refresh-queue.ts';
import type { Probe } from './attempt.ts';
import type { Recorder } from './recorder.ts';
import type { StoreWatches } from './store-watches.ts';

/** What the workers of both lanes are made of. */
export interface WorkerParts {
  readonly config: Config;
  /** With the `patient` profile. BullMQ duplicates it for its blocking wait. */
  readonly redis: Redis;
  readonly probe: Probe;
  readonly stores: StoreWatches;
  readonly recorder: Recorder;
  readonly log: Logger;
  /** Unique among all workers; shown on the dashboard. */
  readonly name: string;
}

/** A BullMQ worker that takes no jobs while a store is unavailable. */
export interface WatchedWorker {
  /** Starts taking jobs. */
  start(): void;
  readonly running: boolean;
  /**
   * Whether both of its connections to Redis are up: the one for jobs and the one for the blocking
   * wait.
   */
  readonly connected: boolean;
  /** Takes no more jobs and finishes those in hand; returns at once while Redis is unavailable. */
  close(): Promise<void>;
}

/** The options that the BullMQ workers of both lanes have in common. */
export function workerOptions({ config, redis, name }: WorkerParts): WorkerOptions {
  return {
    ...bullmqOptions(config, redis),
    name,
    autorun: false,
    drainDelay: JOB_WAIT_S,
    lockDuration: config.LOCK_DURATION_MS,
    stalledInterval: config.STALLED_INTERVAL_MS,
    // A lost worker isn't its jobs' fault, and a job's stalls are counted over its whole life.
    maxStalledCount: 1_000,
  };
}

/**
 * Puts a worker that was created with {@link workerOptions} under watch. Errors that it emits pause
 * it or are logged.
 */
export function watchWorker<Data, Result, Name extends string>(
  worker: Worker<Data, Result, Name>,
  { redis, stores, recorder, log }: WorkerParts,
): WatchedWorker {
  stores.pauses.add(worker);
  let waiting: { readonly status: string } | undefined;
  void worker
    .getBackend()
    .blockingClient?.then((client) => (waiting = client))
    // Rejects if the worker was stopped before it had connected.
    .catch(() => undefined);
  const isConnected = (): boolean => redis.status === 'ready' && waiting?.status === 'ready';

  worker.on('completed', () => stores.redis.reportServed());
  worker.on('stalled', () => recorder.recovered());
  worker.on('lockRenewalFailed', (jobIds: string[]) => {
    log.warn(`lost the locks of ${jobIds.length} jobs; another worker runs them again`);
  });
  worker.on('error', (error) => {
    if (!stores.redis.reportError(error)) stores.errors.report(error);
  });

  return {
    start: () =>
      void worker.run().catch((error: unknown) => log.error({ err: error }, 'worker ended')),
    get running() {
      return worker.isRunning() && !stores.postgres.unavailable && !stores.redis.unavailable;
    },
    get connected() {
      return isConnected();
    },
    close: async () => {
      // Without Redis no job can be completed, and BullMQ would wait for that for ever.
      const closing = worker.close(!isConnected());
      await Promise.race([closing, once(redis, 'close')]);
    },
  };
}
