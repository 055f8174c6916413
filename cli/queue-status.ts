import type { Redis } from 'ioredis';
import { listWorkers } from '../dashboard/overview/worker-list.ts';
import type { Config } from '../shared/process/config.ts';
import { isBacklogPaused } from '../shared/queue/backlog-queue.ts';
import {
  countJobs,
  oldestWaitingSeconds,
  type QueueCounts,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';

/** What `tally status` shows of the queue. */
export interface QueueStatus {
  readonly queue: QueueCounts & { readonly paused: boolean };
  readonly backlogPaused: boolean;
  readonly oldestWaitingSeconds: number | null;
}

/**
 * Reads all of it from Redis, without changing anything.
 * @throws an error from `ioredis`
 */
export async function describeQueue(
  queue: RefreshQueue,
  redis: Redis,
  config: Config,
): Promise<QueueStatus> {
  const [counts, paused, backlogPaused, oldest] = await Promise.all([
    countJobs(queue),
    queue.isPaused(),
    isBacklogPaused(config, redis),
    oldestWaitingSeconds(queue),
  ]);
  return { queue: { ...counts, paused }, backlogPaused, oldestWaitingSeconds: oldest };
}

/** A connected worker and the number of jobs it has in hand. */
export interface WorkerStatus {
  readonly name: string;
  readonly active: number;
}

/**
 * The connected workers, by name.
 * @throws an error from `ioredis`, also if the Redis user may not list clients
 */
export async function describeWorkers(
  queue: RefreshQueue,
  redis: Redis,
  config: Config,
): Promise<WorkerStatus[]> {
  const workers = await listWorkers(queue, redis, config);
  return workers.map(({ name, active }) => ({ name, active }));
}
