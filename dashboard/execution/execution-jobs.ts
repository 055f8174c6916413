import type { Identity } from '../../shared/execution.ts';
import type { QueueAccess } from '../../shared/queue/failed-jobs.ts';
import { queueIdentity } from '../../shared/queue/refresh-queue.ts';

const FAILED_SHOWN = 20;
/** Most failed jobs of an execution that are looked for in Redis. */
export const FAILED_READ = 100;
// Failed jobs among which those without a record are found: the newest, in about a millisecond.
const NEWEST_FAILED = 1_000;

/** The job that holds an execution's deduplication key. Times are ISO 8601, UTC. */
export interface CurrentJob {
  readonly jobId: string;
  readonly state: 'waiting' | 'running' | 'delayed';
  readonly addedAt: string | null;
  /** Start time and worker of a running job; null for any other. */
  readonly startedAt: string | null;
  readonly worker: string | null;
  /** Attempts used so far, and the error of the last one. */
  readonly attempts: number;
  readonly error: string | null;
  /** When a delayed job is tried again; null for any other. */
  readonly nextTryAt: string | null;
}

/** A kept job of the execution that failed for good. */
interface FailedJob {
  readonly jobId: string;
  readonly failedAt: string | null;
  readonly attempts: number;
  readonly error: string;
}

/** What the queue knows about one execution. */
export interface ExecutionJobs {
  readonly current: CurrentJob | null;
  /** Another run is stored behind the running one, because something changed meanwhile. */
  readonly nextRunStored: boolean;
  /** Newest first, at most twenty. */
  readonly failed: readonly FailedJob[];
}

/**
 * Finds the jobs of one execution with a constant number of commands, however many wait or have
 * failed: the deduplication key names the job that waits, runs or is delayed, and Postgres names
 * those that failed.
 * @param recorded the newest failed jobs of the execution that have a record, at most
 *   {@link FAILED_READ}
 * @throws an error from `ioredis`
 */
export async function findJobs(
  { queue, redis }: QueueAccess,
  identity: Identity,
  recorded: readonly string[],
): Promise<ExecutionJobs> {
  const id = queueIdentity(identity);
  const [currentId, stored, newestFailed] = await Promise.all([
    queue.getDeduplicationJobId(id),
    // BullMQ keeps the run that follows a running one under this key (storeDeduplicatedNextJob.lua).
    redis.exists(queue.toKey(`dn:${id}`)),
    // One that failed while Postgres couldn't record it has no record until the failed-janitor
    // comes by.
    redis.zrevrange(queue.toKey('failed'), 0, NEWEST_FAILED - 1),
  ]);
  const ofExecution = newestFailed.filter((jobId) => jobId.startsWith(`${id}:`));
  const failedIds = [...new Set([...recorded, ...ofExecution.slice(0, FAILED_READ)])];
  const [current, failed] = await Promise.all([
    currentId === null ? null : describeCurrent({ queue, redis }, currentId),
    Promise.all(failedIds.map((jobId) => describeFailed({ queue, redis }, jobId))),
  ]);
  return {
    current,
    nextRunStored: stored === 1,
    failed: failed
      .filter((job) => job !== undefined)
      .toSorted((a, b) => String(b.failedAt).localeCompare(String(a.failedAt)))
      .slice(0, FAILED_SHOWN),
  };
}

async function describeCurrent(
  { queue, redis }: QueueAccess,
  jobId: string,
): Promise<CurrentJob | null> {
  const [job, delayedUntil, runs, failed] = await Promise.all([
    queue.getJob(jobId),
    redis.zscore(queue.toKey('delayed'), jobId),
    // LPOS is cheap here: the list holds only what the workers have in hand.
    redis.lpos(queue.toKey('active'), jobId),
    redis.zscore(queue.toKey('failed'), jobId),
  ]);
  if (job === undefined || failed !== null) return null;
  const running = runs !== null;
  return {
    jobId,
    state: running ? 'running' : delayedUntil === null ? 'waiting' : 'delayed',
    addedAt: isoTime(job.timestamp),
    startedAt: running ? isoTime(job.processedOn) : null,
    worker: running ? (job.processedBy ?? null) : null,
    attempts: job.attemptsMade,
    error: job.failedReason || null,
    // BullMQ's scores are milliseconds times 4096, so that jobs of one millisecond keep their
    // order.
    nextTryAt: delayedUntil === null ? null : isoTime(Math.floor(Number(delayedUntil) / 4096)),
  };
}

/** Undefined if the job is gone, or on the queue again. */
async function describeFailed(
  { queue, redis }: QueueAccess,
  jobId: string,
): Promise<FailedJob | undefined> {
  const [isFailed, [error = null, finishedOn = null, attempts = null]] = await Promise.all([
    redis.zscore(queue.toKey('failed'), jobId),
    // Three fields instead of the whole job, which has a stack trace for each attempt.
    redis.hmget(queue.toKey(jobId), 'failedReason', 'finishedOn', 'atm'),
  ]);
  if (isFailed === null || (error === null && finishedOn === null)) return undefined;
  return {
    jobId,
    failedAt: isoTime(finishedOn === null ? undefined : Number(finishedOn)),
    attempts: Number(attempts ?? 0),
    error: error ?? '',
  };
}

function isoTime(ms: number | undefined): string | null {
  return ms === undefined || Number.isNaN(new Date(ms).getTime())
    ? null
    : new Date(ms).toISOString();
}
