import type { ChainableCommander, Redis } from 'ioredis';
import type { Identity } from '../execution.ts';
import type { Failure } from './failure-causes.ts';
import { readPayload, type RefreshQueue } from './refresh-queue.ts';

/** Failed jobs per page: few enough that each command takes Redis only some milliseconds. */
export const FAILED_PAGE = 500;
// Per scan, which reads ids alone.
const SCANNED_PAGE = 1_000;

// Removed by one script: few enough that it takes Redis only some milliseconds.
const REMOVED_AT_ONCE = 200;

// What BullMQ's own removal does for a job without children, for many jobs in one call: one call for
// each took a third of the time of a bulk retry. Only the script can tell that a job is failed and
// remove it in one step; otherwise a job that somebody retries in between would be lost.
const REMOVE_FAILED = `
local prefix, removed = ARGV[1], 0
local maxEvents = redis.call('HGET', KEYS[3], 'opts.maxLenEvents') or 1000
for at = 2, #ARGV do
  local id = ARGV[at]
  local key = prefix .. id
  if redis.call('ZREM', KEYS[1], id) == 1 then
    local identity = redis.call('HGET', key, 'deid')
    if identity and redis.call('GET', prefix .. 'de:' .. identity) == id then
      redis.call('DEL', prefix .. 'de:' .. identity, prefix .. 'dn:' .. identity)
    end
    redis.call('DEL', key, key .. ':logs', key .. ':dependencies', key .. ':processed',
      key .. ':failed', key .. ':unsuccessful')
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', maxEvents, '*', 'event', 'removed', 'jobId', id, 'prev', 'failed')
    removed = removed + 1
  end
end
return removed`;

// 31 December 9999, the last date with a four-digit year in ISO 8601.
const LATEST_MS = 253_402_300_799_999;

/** The queue, and its connection for what BullMQ has no method for. */
export interface QueueAccess {
  readonly queue: RefreshQueue;
  readonly redis: Redis;
}

/** A failed job as the sorted set of failed jobs has it; {@link readFailedJobs} reads the rest. */
export interface FailedEntry {
  readonly jobId: string;
  /** Milliseconds since 1970. */
  readonly failedAtMs: number;
}

/**
 * A page of failed jobs, the number of ids examined for it, and where the next page starts (`0`
 * after the last one).
 */
export interface FailedPage {
  readonly entries: readonly FailedEntry[];
  readonly seen: number;
  readonly cursor: string;
}

/**
 * Yields all jobs that failed before the call, page by page, in no particular order. Jobs that stay
 * failed are returned at least once (rarely twice, if Redis resizes its table). Jobs removed or
 * added meanwhile may be missing, so it always ends.
 * @param from the `cursor` of an earlier page, to continue after it
 * @throws an error from `ioredis`
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
    const [next, found] = await redis.zscan(failed, cursor, 'COUNT', SCANNED_PAGE);
    const entries = entriesOf(found).filter(({ failedAtMs }) => failedAtMs <= untilMs);
    yield { entries, seen: found.length / 2, cursor: next };
    cursor = next;
  } while (cursor !== '0');
}

/**
 * The newest failed jobs, newest first.
 * @param limit at most this many, read in one pipeline
 * @throws an error from `ioredis`
 */
export async function newestFailures(
  { queue, redis }: QueueAccess,
  limit: number,
): Promise<Failure[]> {
  const found = await redis.zrevrange(queue.toKey('failed'), 0, limit - 1, 'WITHSCORES');
  return readFailedJobs({ queue, redis }, entriesOf(found));
}

/** @param found members and scores alternately, as Redis returns them */
function entriesOf(found: readonly string[]): FailedEntry[] {
  const entries: FailedEntry[] = [];
  for (let at = 0; at < found.length; at += 2) {
    entries.push({ jobId: found[at] ?? '', failedAtMs: momentOf(found[at + 1]) });
  }
  return entries;
}

/** Limits a score to a valid date: one that was written by hand may be anything, even `inf`. */
function momentOf(score: string | undefined): number {
  const ms = Number(score);
  return Number.isNaN(ms) ? LATEST_MS : Math.min(Math.max(ms, 0), LATEST_MS);
}

/**
 * What these jobs were about and why they failed. Jobs that are gone are left out.
 * @param entries at most a page
 * @throws an error from `ioredis`
 */
export async function readFailedJobs(
  { queue, redis }: QueueAccess,
  entries: readonly FailedEntry[],
): Promise<Failure[]> {
  if (entries.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const { jobId } of entries) pipeline.hmget(queue.toKey(jobId), 'data', 'failedReason');
  const answers = await answersOf<[string | null, string | null]>(pipeline);
  return entries.flatMap(({ jobId, failedAtMs }, index) => {
    const [data, reason] = answers[index] ?? [null, null];
    // Removed after its id was read.
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
 * The errors of these jobs, by job id; empty for jobs that are gone.
 * @param jobIds at most a page
 * @throws an error from `ioredis`
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

/** `elsewhere`: the job is on the queue but not failed; `gone`: the job doesn't exist. */
export type JobPlace = 'failed' | 'elsewhere' | 'gone';

/**
 * Where each of these jobs is.
 * @param jobIds at most a page
 * @throws an error from `ioredis`; a missing answer never counts as "gone"
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
 * @param jobIds at most a page
 * @returns how many were removed
 * @throws an error from `ioredis`; some may have been removed then
 */
export async function removeFailed(
  { queue, redis }: QueueAccess,
  jobIds: readonly string[],
): Promise<number> {
  const calls: Promise<unknown>[] = [];
  for (let from = 0; from < jobIds.length; from += REMOVED_AT_ONCE) {
    const some = jobIds.slice(from, from + REMOVED_AT_ONCE);
    const keys = [queue.toKey('failed'), queue.toKey('events'), queue.toKey('meta')];
    // All are sent before the first answer is read.
    calls.push(redis.eval(REMOVE_FAILED, keys.length, ...keys, queue.toKey(''), ...some));
  }
  return (await Promise.all(calls)).reduce<number>((sum, removed) => sum + Number(removed), 0);
}

// A pipeline resolves even if one of its commands fails.
async function answersOf<T>(pipeline: ChainableCommander): Promise<T[]> {
  const answers = (await pipeline.exec()) ?? [];
  return answers.map(([error, answer]) => {
    if (error !== null) throw error;
    return answer as T;
  });
}
