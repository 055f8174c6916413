import type { ChainableCommander, Redis } from 'ioredis';
import type { Identity } from '../execution.ts';
import type { Failure } from './failure-causes.ts';
import { readPayload, type RefreshQueue } from './refresh-queue.ts';

/** Failed jobs in one page: each command to Redis stays below some milliseconds. */
export const FAILED_PAGE = 500;

// 31 December 9999, the last that an ISO date has four digits for.
const LATEST_MS = 253_402_300_799_999;

/** The queue, and the connection it uses for what BullMQ has no call. */
export interface QueueAccess {
  readonly queue: RefreshQueue;
  readonly redis: Redis;
}

/** A page of failed jobs, how many ids were looked at for it, and where the next page begins (`0`: it was the last). */
export interface FailedPage {
  readonly jobs: readonly Failure[];
  readonly seen: number;
  readonly cursor: string;
}

/**
 * Gives all jobs that have failed before it was called, in no order, page by page. Jobs that stay failed meanwhile
 * are given at least once (in rare cases twice: Redis may resize its table), those that are removed
 * or added meanwhile may be missing; so it ends, whatever happens to the queue.
 * @param from the `cursor` of an earlier page, to go on behind it
 * @throws the error of ioredis
 */
export async function* failedPages(
  { queue, redis }: QueueAccess,
  from = '0',
): AsyncGenerator<FailedPage> {
  const failed = queue.toKey('failed');
  const [, newest] = await redis.zrevrange(failed, 0, 0, 'WITHSCORES');
  if (newest === undefined) return;
  const untilMs = momentOf(newest);
  let cursor = from;
  do {
    const [next, found] = await redis.zscan(failed, cursor, 'COUNT', FAILED_PAGE);
    const entries = entriesOf(found).filter(({ failedAtMs }) => failedAtMs <= untilMs);
    yield {
      jobs: await readJobs({ queue, redis }, entries),
      seen: found.length / 2,
      cursor: next,
    };
    cursor = next;
  } while (cursor !== '0');
}

/**
 * The newest failed jobs.
 * @param limit how many at most; they are asked for in one pipeline
 * @throws the error of ioredis
 */
export async function newestFailures(
  { queue, redis }: QueueAccess,
  limit: number,
): Promise<Failure[]> {
  const found = await redis.zrevrange(queue.toKey('failed'), 0, limit - 1, 'WITHSCORES');
  return readJobs({ queue, redis }, entriesOf(found));
}

interface Entry {
  readonly jobId: string;
  readonly failedAtMs: number;
}

/** @param found members and scores in turn, as Redis gives them */
function entriesOf(found: readonly string[]): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < found.length; at += 2) {
    entries.push({ jobId: found[at] ?? '', failedAtMs: momentOf(found[at + 1]) });
  }
  return entries;
}

/** A score that somebody wrote by hand may lie beyond every date, or be `inf`. */
function momentOf(score: string | undefined): number {
  const ms = Number(score);
  return Number.isNaN(ms) ? LATEST_MS : Math.min(Math.max(ms, 0), LATEST_MS);
}

async function readJobs(
  { queue, redis }: QueueAccess,
  entries: readonly Entry[],
): Promise<Failure[]> {
  const pipeline = redis.pipeline();
  for (const { jobId } of entries) pipeline.hmget(queue.toKey(jobId), 'data', 'failedReason');
  const answers = await answersOf<[string | null, string | null]>(pipeline);
  return entries.flatMap(({ jobId, failedAtMs }, index) => {
    const [data, reason] = answers[index] ?? [null, null];
    // Removed since its id was read.
    if (data === null) return [];
    return [{ jobId, failedAtMs, identity: identityIn(data), error: reason ?? '' }];
  });
}

function identityIn(data: string): Identity | undefined {
  try {
    return readPayload(JSON.parse(data));
  } catch {
    return undefined;
  }
}

/**
 * The errors of those of these jobs that are there, by job id.
 * @param jobIds a page
 * @throws the error of ioredis
 */
export async function readFailedReasons(
  { queue, redis }: QueueAccess,
  jobIds: readonly string[],
): Promise<Map<string, string>> {
  if (jobIds.length === 0) return new Map();
  const pipeline = redis.pipeline();
  for (const jobId of jobIds) pipeline.hget(queue.toKey(jobId), 'failedReason');
  const answers = await answersOf<string | null>(pipeline);
  return new Map(jobIds.map((jobId, index) => [jobId, answers[index] ?? '']));
}

/** `elsewhere`: the job is on the queue and not failed; `gone`: there is no such job. */
export type JobPlace = 'failed' | 'elsewhere' | 'gone';

/**
 * Where each of these jobs is.
 * @param jobIds a page
 * @throws the error of ioredis: an answer that didn't come never counts as "gone"
 */
export async function locateJobs(
  { queue, redis }: QueueAccess,
  jobIds: readonly string[],
): Promise<JobPlace[]> {
  const pipeline = redis.pipeline();
  const failed = queue.toKey('failed');
  for (const jobId of jobIds) pipeline.zscore(failed, jobId).exists(queue.toKey(jobId));
  const answers = await answersOf<string | number | null>(pipeline);
  return jobIds.map((_jobId, index) => {
    if (answers[2 * index] !== null) return 'failed';
    return answers[2 * index + 1] === 1 ? 'elsewhere' : 'gone';
  });
}

/**
 * Removes those of these jobs that are failed now, and leaves the others.
 * @param jobIds a page
 * @returns how many were removed
 * @throws the error of ioredis; some may have been removed then
 */
export async function removeFailed(
  { queue, redis }: QueueAccess,
  jobIds: readonly string[],
): Promise<number> {
  const places = await locateJobs({ queue, redis }, jobIds);
  // All are sent before the first answer is read; each is a short command of its own.
  const removed = await Promise.all(
    jobIds.filter((_jobId, index) => places[index] === 'failed').map((id) => queue.remove(id)),
  );
  return removed.filter((code) => code === 1).length;
}

// A pipeline doesn't reject when one of its commands does.
async function answersOf<T>(pipeline: ChainableCommander): Promise<T[]> {
  const answers = (await pipeline.exec()) ?? [];
  return answers.map(([error, answer]) => {
    if (error !== null) throw error;
    return answer as T;
  });
}
