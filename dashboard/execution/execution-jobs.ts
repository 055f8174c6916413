import type { Redis } from 'ioredis';
import type { Identity } from '../../shared/execution.ts';
import { queueIdentity, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';

const FAILED_SHOWN = 20;
// Failed jobs examined per ZSCAN step, which takes some milliseconds also among 50,000 of them.
const SCAN_COUNT = 1_000;
const SCAN_STEPS = 200;

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
 * Finds the jobs of one execution without scanning the waiting ones: the deduplication key names
 * the job that waits, runs or is delayed, and the ids of failed jobs contain the identity.
 * @throws an error from `ioredis`
 */
export async function findJobs(
  queue: RefreshQueue,
  redis: Redis,
  identity: Identity,
): Promise<ExecutionJobs> {
  const id = queueIdentity(identity);
  const [currentId, stored, failedIds] = await Promise.all([
    queue.getDeduplicationJobId(id),
    // BullMQ keeps the run that follows a running one under this key (storeDeduplicatedNextJob.lua).
    redis.exists(queue.toKey(`dn:${id}`)),
    findFailed(queue, redis, id),
  ]);
  const [current, failed] = await Promise.all([
    currentId === null ? null : describeCurrent(queue, redis, currentId),
    Promise.all(failedIds.map((jobId) => describeFailed(queue, redis, jobId))),
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
  queue: RefreshQueue,
  redis: Redis,
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

async function findFailed(queue: RefreshQueue, redis: Redis, identity: string): Promise<string[]> {
  const found: string[] = [];
  let cursor = '0';
  for (let step = 0; step < SCAN_STEPS; step++) {
    const [next, entries] = await redis.zscan(
      queue.toKey('failed'),
      cursor,
      'MATCH',
      `${identity}:*`,
      'COUNT',
      SCAN_COUNT,
    );
    // ZSCAN returns ids and scores alternately, and may return one twice.
    for (let at = 0; at < entries.length; at += 2) found.push(String(entries[at]));
    cursor = next;
    if (cursor === '0') break;
  }
  return [...new Set(found)].slice(0, 5 * FAILED_SHOWN);
}

async function describeFailed(
  queue: RefreshQueue,
  redis: Redis,
  jobId: string,
): Promise<FailedJob | undefined> {
  // Three fields instead of the whole job, which has a stack trace for each attempt.
  const [error, finishedOn, attempts] = await redis.hmget(
    queue.toKey(jobId),
    'failedReason',
    'finishedOn',
    'atm',
  );
  if (error === null && finishedOn === null) return undefined;
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
