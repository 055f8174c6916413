import { randomBytes } from 'node:crypto';
import type { Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';
import { bullmq } from './packages.ts';
import { BACKLOG_QUEUE } from './queue-names.ts';
import { createReadableBackend } from './readable-jobs.ts';
import { bullmqOptions } from './refresh-queue.ts';

const JOB_NAME = 'drain';

/** What a backlog job has done, or has done so far while it runs. */
export interface BacklogFigures {
  /** Executions refreshed: the sum of the next four figures. */
  readonly refreshed: number;
  readonly changed: number;
  readonly unchanged: number;
  readonly noTasks: number;
  readonly missing: number;
  /**
   * Executions handed to the express lane: locked by another transaction, or in a batch that
   * failed.
   */
  readonly handedOver: number;
  /** Duration of the run, in milliseconds. */
  readonly ms: number;
}

/** Empty: a job takes whatever is oldest when it runs. */
export type BacklogPayload = Readonly<Record<string, never>>;
/** The queue `backlog`. */
export type BacklogQueue = Queue<BacklogPayload, BacklogFigures, typeof JOB_NAME>;
/** A job of the backlog lane. */
export type BacklogJob = Job<BacklogPayload, BacklogFigures, typeof JOB_NAME>;

/**
 * Opens the queue `backlog` for a producer or the dashboard. Closing the queue leaves the
 * connection open.
 */
export function openBacklogQueue(config: Config, redis: Redis): BacklogQueue {
  const queue: BacklogQueue = new bullmq.Queue(
    BACKLOG_QUEUE,
    { ...bullmqOptions(config, redis), streams: { events: { maxLen: 1_000 } } },
    createReadableBackend,
  );
  // The connection's own listener logs outages.
  queue.on('error', () => undefined);
  return queue;
}

/**
 * Offers jobs that drain the backlog, one in each of `slots` slots. However often and by whomever
 * it is called, at most one job of a slot waits and one runs; a job that is offered while its slot
 * runs follows at once.
 * @throws an error from `ioredis`
 */
export async function offerBacklogJobs(queue: BacklogQueue, slots: number): Promise<void> {
  await queue.addBulk(
    Array.from({ length: slots }, (_, n) => {
      const slot = slotName(n + 1);
      return {
        name: JOB_NAME,
        data: {},
        opts: {
          // Different each time, because BullMQ checks the id before it deduplicates.
          jobId: `${slot}-${randomBytes(6).toString('base64url')}`,
          deduplication: { id: slot, keepLastIfActive: true },
        },
      };
    }),
  );
}

/**
 * Whether the queue is paused, so that no worker drains the backlog. Only reads, and needs no open
 * queue.
 * @throws an error from `ioredis`
 */
export async function isBacklogPaused(config: Config, redis: Redis): Promise<boolean> {
  // BullMQ's isPaused reads the same field, but needs an open queue.
  return (await redis.hexists(`${config.QUEUE_PREFIX}:${BACKLOG_QUEUE}:meta`, 'paused')) === 1;
}

/**
 * The id of the job that waits or runs in the first slot; null if there is none.
 * @throws an error from `ioredis`
 */
export function jobOfFirstSlot(queue: BacklogQueue): Promise<string | null> {
  return queue.getDeduplicationJobId(slotName(1));
}

/**
 * Whether a worker that is alive runs a job. A killed worker's job counts for as long as its lock
 * lasts.
 * @throws an error from `ioredis`
 */
export async function isAnyJobRunning(queue: BacklogQueue, redis: Redis): Promise<boolean> {
  const jobIds = await queue.getRanges(['active']);
  // BullMQ's keys of the locks, which a worker renews while it runs the job.
  const locks = jobIds.map((jobId) => `${queue.toKey(jobId)}:lock`);
  return locks.length > 0 && (await redis.exists(locks)) > 0;
}

function slotName(slot: number): string {
  return `backlog-${slot}`;
}
