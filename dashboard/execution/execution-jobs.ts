import type { Redis } from 'ioredis';
import type { Identity } from '../../shared/execution.ts';
import { queueIdentity, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';

const FAILED_SHOWN = 20;
// A step of a scan looks at this many of the failed jobs, in about two milliseconds.
const SCAN_COUNT = 5_000;
const SCAN_STEPS = 40;

/** The job that stands for an execution on the queue. Times are ISO, UTC. */
export interface CurrentJob {
  readonly jobId: string;
  readonly state: 'waiting' | 'running' | 'delayed';
  readonly addedAt: string | null;
  /** Of a running job: since when, and on which worker. */
  readonly startedAt: string | null;
  readonly worker: string | null;
  /** Attempts that are used up, and the error of the last one. */
  readonly attempts: number;
  readonly error: string | null;
  /** Of a delayed job: when it is tried again. */
  readonly nextTryAt: string | null;
}

/** A job of the execution that failed for good and is kept. */
interface FailedJob {
  readonly jobId: string;
  readonly failedAt: string | null;
  readonly attempts: number;
  readonly error: string;
}

/** What the queue knows of one execution. */
export interface ExecutionJobs {
  readonly current: CurrentJob | null;
  /** One more run follows the one that runs now, because something changed meanwhile. */
  readonly nextRunStored: boolean;
  /** The newest, twenty at most. */
  readonly failed: readonly FailedJob[];
}

/**
 * Finds the jobs of one execution without looking at those that wait: the deduplication key names the one that
 * waits, runs or is delayed; failed ones carry the identity in their id.
 * @throws the error of ioredis
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
    // Short: the jobs that all workers have in hand.
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
    // BullMQ's scores are milliseconds times 4096, so that jobs of one millisecond keep their order.
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
    // Ids and scores by turns; a scan may show one twice.
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
  // Not the whole job: a stack trace for each attempt is of no use here.
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
