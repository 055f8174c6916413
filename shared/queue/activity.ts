import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';

/** Seconds that one point of the history stands for. */
export const BUCKET_SECONDS = 10;
const SHOWN_SECONDS = 3_600;
const KEPT_SECONDS = 7_200;
// A worker that has said nothing for so long is gone, or was never one of ours.
const SIGN_OF_LIFE_SECONDS = 45;
// Upper bounds of the classes in which lags are counted; above the last one there is one more class.
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

/** What one worker has done since it last told. */
export interface Activity {
  refreshed: number;
  failed: number;
  /** Refreshes by class of their lag, from being recorded to being done. */
  readonly lags: number[];
}

export function noActivity(): Activity {
  return { refreshed: 0, failed: 0, lags: LAG_BOUNDS_MS.map(() => 0).concat(0) };
}

export function countLag(activity: Activity, lagMs: number): void {
  const found = LAG_BOUNDS_MS.findIndex((bound) => lagMs <= bound);
  const at = found < 0 ? LAG_BOUNDS_MS.length : found;
  activity.lags[at] = (activity.lags[at] ?? 0) + 1;
}

/** How a worker shows itself on the overview. */
export interface WorkerHeartbeat {
  readonly startedAt: string;
  readonly concurrency: number;
}

/**
 * Adds what a worker did in the ten seconds that have just passed to what the others did, and shows that it is
 * alive. For people to look at: nothing is decided by it, and it is gone with Redis.
 * @throws the error of ioredis
 */
export async function recordActivity(
  redis: Redis,
  config: Config,
  name: string,
  heartbeat: WorkerHeartbeat,
  activity: Activity,
): Promise<void> {
  // By the clock of Redis: those of the workers may differ. Half a bucket back, because the time that
  // passed has ended just now.
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

/** Ten seconds of the history. */
export interface ActivityPoint {
  /** Its end, in milliseconds since 1970, by the clock of Redis. */
  readonly endMs: number;
  readonly refreshed: number;
  readonly failed: number;
  /** Median and 99th percentile of the lag, rounded up to the bound of its class; null where nothing had one. */
  readonly lagMsP50: number | null;
  readonly lagMsP99: number | null;
}

/**
 * The last hour, the oldest first, without the ten seconds that are not over.
 * @throws the error of ioredis
 */
export async function readActivity(redis: Redis, config: Config): Promise<ActivityPoint[]> {
  const [seconds] = await redis.time();
  // The workers tell a moment after the end of each bucket.
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
 * What these workers said of themselves; null for one that said nothing, or nothing that can be read.
 * @throws the error of ioredis
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

// Anyone with access to Redis can write there; what is no heartbeat is as none.
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
