import { once } from 'node:events';
import type { Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { describeError } from '../shared/errors.ts';
import type { Logger } from '../shared/process/logger.ts';
import type { StoreWatches } from './store-watches.ts';

const REPEAT_AFTER_MS = 60_000;
// Redis' own outages are logged where the connection is, lost locks by an event of their own.
const LOGGED_BY_CONNECTION =
  /^(connect |Connection is closed|Socket timeout|read |write |could not renew lock )/;

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

/** Puts a worker that was made with `autorun: false` under watch. What it reports as an error is logged once a minute. */
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
    // It ended before it was there, at a stop.
    .catch(() => undefined);
  const isConnected = (): boolean => redis.status === 'ready' && waiting?.status === 'ready';

  worker.on('completed', () => stores.redis.reportServed());
  worker.on('lockRenewalFailed', (jobIds: string[]) => {
    log.warn(`lost the locks of ${jobIds.length} jobs; they are done again by another worker`);
  });
  const loggedAtMs = new Map<string, number>();
  worker.on('error', (error) => {
    if (stores.redis.reportError(error)) return;
    // BullMQ says the same for each job, and after a freeze or a flush several things by turns.
    const text = describeError(error).replaceAll(/\d+:[\w.~-]+:[\w-]+/g, '<job>');
    if (LOGGED_BY_CONNECTION.test(text)) return;
    const nowMs = performance.now();
    if (nowMs - (loggedAtMs.get(text) ?? -Infinity) < REPEAT_AFTER_MS) return;
    if (loggedAtMs.size > 100) loggedAtMs.clear();
    loggedAtMs.set(text, nowMs);
    log.warn(`queue: ${describeError(error)}`);
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
