import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';

/** Seconds that each point of the history covers. */
export const BUCKET_SECONDS = 10;
const SHOWN_SECONDS = 3_600;
const KEPT_SECONDS = 7_200;
// A heartbeat expires after this long; its worker is then gone.
const SIGN_OF_LIFE_SECONDS = 45;
// Upper bounds of the histogram's buckets for lags; one more bucket lies above the last.
const LAG_BOUNDS_MS = [
  5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 45_000,
  60_000, 90_000, 120_000, 180_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

function bucketKey(config: Config, bucket: number): string {
  return `${config.QUEUE_PREFIX}:refresh-activity:${bucket}`;
}

function workerKey(config: Config, name: string): string {
  return `${config.QUEUE_PREFIX}:refresh-worker:${name}`;
}

/** What one worker has done since its last report. */
export interface Activity {
  refreshed: number;
  failed: number;
  /** Refreshes by histogram bucket of their lag, from request to refresh. */
  readonly lags: number[];
}

/** An activity in which nothing has been done. */
export function noActivity(): Activity {
  return { refreshed: 0, failed: 0, lags: LAG_BOUNDS_MS.map(() => 0).concat(0) };
}

/** Counts a lag, in milliseconds, in its histogram bucket. */
export function countLag(activity: Activity, lagMs: number): void {
  const found = LAG_BOUNDS_MS.findIndex((bound) => lagMs <= bound);
  const at = found < 0 ? LAG_BOUNDS_MS.length : found;
  activity.lags[at] = (activity.lags[at] ?? 0) + 1;
}

/** What a worker tells the overview about itself. */
export interface WorkerHeartbeat {
  readonly startedAt: string;
  readonly concurrency: number;
}

/**
 * Adds what a worker did in the last ten seconds to what the others did, and renews its heartbeat.
 * This is for people to look at: no decision depends on it, and it is lost with Redis.
 * @throws an error from `ioredis`
 */
export async function recordActivity(
  redis: Redis,
  config: Config,
  name: string,
  heartbeat: WorkerHeartbeat,
  activity: Activity,
): Promise<void> {
  // By Redis' clock, because those of the workers may differ. Half a bucket back, because the
  // interval has just ended.
  const [seconds] = await redis.time();
  const key = bucketKey(
    config,
    Math.floor((Number(seconds) - BUCKET_SECONDS / 2) / BUCKET_SECONDS),
  );
  const commands = redis
    .multi()
    .set(workerKey(config, name), JSON.stringify(heartbeat), 'EX', SIGN_OF_LIFE_SECONDS);
  const counts = {
    refreshed: activity.refreshed,
    failed: activity.failed,
    ...Object.fromEntries(activity.lags.map((count, at) => [`lag:${at}`, count])),
  };
  for (const [field, count] of Object.entries(counts)) {
    if (count > 0) commands.hincrby(key, field, count);
  }
  commands.expire(key, KEPT_SECONDS);
  await commands.exec();
}

/** Ten seconds of history. */
export interface ActivityPoint {
  /** End of the interval, in milliseconds since 1970 by Redis' clock. */
  readonly endMs: number;
  readonly refreshed: number;
  readonly failed: number;
  /**
   * Median and 99th percentile of the lag, rounded up to the bound of its histogram bucket; null if
   * nothing had one.
   */
  readonly lagMsP50: number | null;
  readonly lagMsP99: number | null;
}

/**
 * The last hour, oldest first, without the current ten seconds.
 * @throws an error from `ioredis`
 */
export async function readActivity(redis: Redis, config: Config): Promise<ActivityPoint[]> {
  const [seconds] = await redis.time();
  // The workers report a moment after the end of each bucket.
  const current = Math.floor((Number(seconds) - 2) / BUCKET_SECONDS);
  const count = SHOWN_SECONDS / BUCKET_SECONDS;
  const buckets = Array.from({ length: count }, (_, n) => current - count + n);
  const pipeline = redis.pipeline();
  for (const bucket of buckets) pipeline.hgetall(bucketKey(config, bucket));
  const answers = (await pipeline.exec()) ?? [];
  return buckets.map((bucket, n) => {
    const fields = (answers[n]?.[1] ?? {}) as Readonly<Record<string, string>>;
    const lags = noActivity().lags.map((_, at) => countIn(fields, `lag:${at}`));
    return {
      endMs: (bucket + 1) * BUCKET_SECONDS * 1_000,
      refreshed: countIn(fields, 'refreshed'),
      failed: countIn(fields, 'failed'),
      lagMsP50: percentile(lags, 0.5),
      lagMsP99: percentile(lags, 0.99),
    };
  });
}

function countIn(fields: Readonly<Record<string, string>>, name: string): number {
  const count = Number(fields[name] ?? 0);
  return Number.isFinite(count) ? count : 0;
}

function percentile(lags: readonly number[], part: number): number | null {
  const total = lags.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  const at = lags.findIndex((count) => (seen += count) >= total * part);
  return LAG_BOUNDS_MS[at] ?? LAG_BOUNDS_MS.at(-1) ?? null;
}

/**
 * The heartbeats of these workers; null for one that has none or an unreadable one.
 * @throws an error from `ioredis`
 */
export async function readHeartbeats(
  redis: Redis,
  config: Config,
  names: readonly string[],
): Promise<(WorkerHeartbeat | null)[]> {
  if (names.length === 0) return [];
  const texts = await redis.mget(names.map((name) => workerKey(config, name)));
  return texts.map((text) => (text === null ? null : readHeartbeat(text)));
}

// Anyone with access to Redis can write here; an unreadable heartbeat counts as none.
function readHeartbeat(text: string): WorkerHeartbeat | null {
  try {
    const { startedAt, concurrency } = JSON.parse(text) as Partial<WorkerHeartbeat>;
    return typeof startedAt === 'string' &&
      !Number.isNaN(Date.parse(startedAt)) &&
      typeof concurrency === 'number'
      ? { startedAt, concurrency }
      : null;
  } catch {
    return null;
  }
}
