import { once } from 'node:events';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from '../shared/process/logger.ts';
import type { StoreWatches } from './store-watches.ts';

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

/**
 * Puts a worker under watch that was created with `autorun: false`. Errors that it emits pause it
 * or are logged.
 */
export function watchWorker<Data, Result, Name extends string>(
  worker: Worker<Data, Result, Name>,
  {
    redis,
    stores,
    log,
  }: { readonly redis: Redis; readonly stores: StoreWatches; readonly log: Logger },
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
  worker.on('lockRenewalFailed', (jobIds: string[]) => {
    log.warn(`lost the locks of ${jobIds.length} jobs; they are done again by another worker`);
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
