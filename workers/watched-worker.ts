import { once } from 'node:events';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from '../shared/process/logger.ts';
import type { StoreWatches } from './store-watches.ts';

/** A worker of BullMQ that takes no jobs while a store is unavailable. */
export interface WatchedWorker {
  /** Starts to take jobs. */
  start(): void;
  readonly running: boolean;
  /** Whether its connections to Redis, that for jobs and that for waiting, are there. */
  readonly connected: boolean;
  /** Takes no more jobs, finishes those in hand; at once while Redis is unavailable. */
  close(): Promise<void>;
}

/** Puts a worker that was made with `autorun: false` under watch. What it reports as an error pauses it or is logged. */
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
    // The worker was stopped before it had connected.
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
      return worker.isRunning() && !stores.postgres.away && !stores.redis.away;
    },
    get connected() {
      return isConnected();
    },
    close: async () => {
      // Without Redis no job can be completed, and BullMQ would wait for that without end.
      const closing = worker.close(!isConnected());
      await Promise.race([closing, once(redis, 'close')]);
    },
  };
}
