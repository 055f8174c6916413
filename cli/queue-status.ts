import type { Redis } from 'ioredis';
import { listWorkers } from '../dashboard/overview/worker-list.ts';
import type { Config } from '../shared/process/config.ts';
import {
  countJobs,
  oldestWaitingSeconds,
  type QueueCounts,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';

/** The queue as an operator asks about it. */
export interface QueueStatus {
  readonly queue: QueueCounts & { readonly paused: boolean };
  readonly oldestWaitingSeconds: number | null;
}

/**
 * Asks Redis for all of it, without changing anything.
 * @throws the error of ioredis
 */
export async function describeQueue(queue: RefreshQueue): Promise<QueueStatus> {
  const [counts, paused, oldest] = await Promise.all([
    countJobs(queue),
    queue.isPaused(),
    oldestWaitingSeconds(queue),
  ]);
  return { queue: { ...counts, paused }, oldestWaitingSeconds: oldest };
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
