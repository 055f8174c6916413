import { randomBytes } from 'node:crypto';
import type { Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';
import { bullmq } from './packages.ts';
import { BACKLOG_QUEUE } from './queue-names.ts';
import { createReadableBackend } from './readable-jobs.ts';
import { bullmqOptions } from './refresh-queue.ts';

const JOB_NAME = 'drain';

/** What one job of the backlog lane has done; so far, while it runs. */
export interface BacklogFigures {
  /** Executions that were refreshed: the sum of the four that follow. */
  readonly refreshed: number;
  readonly changed: number;
  readonly unchanged: number;
  readonly noTasks: number;
  readonly missing: number;
  /** Executions that went to the express lane: locked by somebody else, or in a batch that failed. */
  readonly handedOver: number;
  /** For how long it ran, in milliseconds. */
  readonly ms: number;
}

/** Nothing: a job takes what is oldest when it runs. */
export type BacklogPayload = Readonly<Record<string, never>>;
export type BacklogQueue = Queue<BacklogPayload, BacklogFigures, typeof JOB_NAME>;
export type BacklogJob = Job<BacklogPayload, BacklogFigures, typeof JOB_NAME>;

/** The queue as producers and dashboard use it. Closing it leaves the connection open. */
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
 * Asks for up to `slots` jobs that drain the backlog. There is at most one job of a slot that waits and one that
 * runs, whoever asks and however often: a job that is asked for while its slot runs follows at once.
 * @throws the error of ioredis
 */
export async function offerBacklogJobs(queue: BacklogQueue, slots: number): Promise<void> {
  await queue.addBulk(
    Array.from({ length: slots }, (_, n) => {
      const slot = slotName(n + 1);
      return {
        name: JOB_NAME,
        data: {},
        opts: {
          // Different each time: BullMQ looks at the id before it deduplicates.
          jobId: `${slot}-${randomBytes(6).toString('base64url')}`,
          deduplication: { id: slot, keepLastIfActive: true },
        },
      };
    }),
  );
}

/**
 * Whether somebody has paused the queue, so that no worker drains the backlog. Only reads, and needs no opened queue.
 * @throws the error of ioredis
 */
export async function isBacklogPaused(config: Config, redis: Redis): Promise<boolean> {
  // As BullMQ's own isPaused, which would first open the queue.
  return (await redis.hexists(`${config.QUEUE_PREFIX}:${BACKLOG_QUEUE}:meta`, 'paused')) === 1;
}

/** The id of the job that waits or runs in the first slot; null: there is none. @throws the error of ioredis */
export function jobOfFirstSlot(queue: BacklogQueue): Promise<string | null> {
  return queue.getDeduplicationJobId(slotName(1));
}

function slotName(slot: number): string {
  return `backlog-${slot}`;
}
