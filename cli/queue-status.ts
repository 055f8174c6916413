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

/** The queue as an operator asks about it. */
export interface QueueStatus {
  readonly queue: QueueCounts & { readonly paused: boolean };
  readonly backlogPaused: boolean;
  readonly oldestWaitingSeconds: number | null;
}

/**
 * Asks Redis for all of it, without changing anything.
 * @throws the error of ioredis
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

/** A worker that is connected, and how many jobs it has in hand. */
export interface WorkerStatus {
  readonly name: string;
  readonly active: number;
}

/**
 * The workers that are connected, by name.
 * @throws the error of ioredis, also when the user of Redis may not list clients
 */
export async function describeWorkers(
  queue: RefreshQueue,
  redis: Redis,
  config: Config,
): Promise<WorkerStatus[]> {
  const workers = await listWorkers(queue, redis, config);
  return workers.map(({ name, active }) => ({ name, active }));
}
