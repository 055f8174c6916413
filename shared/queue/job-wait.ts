import type { RedisQueueBackend } from 'bullmq';

/**
 * How long a worker without jobs waits in one command for the next, in seconds. A connection that has died without a
 * word is found out only when such a wait is overdue, so work resumes that much later; a shorter one costs an idle
 * worker more commands.
 */
export const JOB_WAIT_S = 5;

/**
 * Keeps BullMQ's wait for a delayed job, which may be twice as long, to {@link JOB_WAIT_S}. (The wait of a worker that
 * knows of no delayed job is its option `drainDelay`.)
 */
export function limitJobWait(backend: RedisQueueBackend): void {
  Object.defineProperty(backend, 'maximumBlockTimeout', { value: JOB_WAIT_S });
}
