import type { RedisQueueBackend } from 'bullmq';

/**
 * Longest time that an idle worker's blocking command waits for a job, in seconds. A connection
 * that died silently is noticed only when such a wait is overdue, so work resumes that much later;
 * a shorter wait costs an idle worker more commands.
 */
export const JOB_WAIT_S = 5;

/**
 * Limits BullMQ's wait for a delayed job, otherwise up to twice as long, to {@link JOB_WAIT_S}.
 * (The worker's option `drainDelay` limits the wait without delayed jobs.)
 */
export function limitJobWait(backend: RedisQueueBackend): void {
  Object.defineProperty(backend, 'maximumBlockTimeout', { value: JOB_WAIT_S });
}
