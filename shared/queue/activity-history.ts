import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';
import {
  activityOf,
  bucketKey,
  COARSE,
  FINE,
  LAG_BOUNDS_MS,
  noActivity,
  type Activity,
  type LaneActivity,
  type Resolution,
} from './activity.ts';

/** How far back a history reaches. */
export const RANGES = ['15m', '1h', '24h'] as const;
export type Range = (typeof RANGES)[number];

const SECONDS: Readonly<Record<Range, number>> = { '15m': 900, '1h': 3_600, '24h': 86_400 };
const RECENT_SECONDS = 60;

/** What all workers did within some seconds. */
export interface ActivityPoint extends Activity {
  /** End of the interval, in milliseconds since 1970 by Redis' clock. */
  readonly endMs: number;
  readonly seconds: number;
}

export interface ActivityHistory {
  readonly range: Range;
  /**
   * Oldest first: ten seconds each without the current ones, or of a day five minutes each, of which
   * the last ones may not be over.
   */
  readonly points: readonly ActivityPoint[];
  /** The last minute, in points of ten seconds. */
  readonly recent: readonly ActivityPoint[];
}

/**
 * Reads at most 360 small hashes in one pipeline.
 * @throws an error from `ioredis`
 */
export async function readActivity(
  redis: Redis,
  config: Config,
  range: Range,
): Promise<ActivityHistory> {
  const [time] = await redis.time();
  // The workers report a moment after the end of each bucket.
  const nowSeconds = Number(time) - 2;
  const resolution = SECONDS[range] <= FINE.keptSeconds ? FINE : COARSE;
  const points = gridOf(resolution, SECONDS[range], nowSeconds);
  const recent = gridOf(FINE, RECENT_SECONDS, nowSeconds);
  const pipeline = redis.pipeline();
  for (const { bucket } of points) pipeline.hgetall(bucketKey(config, resolution, bucket));
  for (const { bucket } of recent) pipeline.hgetall(bucketKey(config, FINE, bucket));
  const answers = (await pipeline.exec()) ?? [];
  const read = [...points, ...recent].map(({ endMs, seconds }, at) => ({
    endMs,
    seconds,
    ...activityOf((answers[at]?.[1] ?? {}) as Readonly<Record<string, string>>),
  }));
  return { range, points: read.slice(0, points.length), recent: read.slice(points.length) };
}

interface GridPoint {
  readonly bucket: number;
  readonly endMs: number;
  readonly seconds: number;
}

function gridOf(
  { seconds: width }: Resolution,
  rangeSeconds: number,
  nowSeconds: number,
): GridPoint[] {
  const current = Math.floor(nowSeconds / width);
  const count = rangeSeconds / width;
  const grid = Array.from({ length: count }, (_, n) => {
    const bucket = current - count + n;
    return { bucket, endMs: (bucket + 1) * width * 1_000, seconds: width };
  });
  // What the workers have told of the current bucket: whole intervals of theirs.
  const told = Math.floor((nowSeconds - current * width) / FINE.seconds) * FINE.seconds;
  if (width === FINE.seconds || told === 0) return grid;
  const last = { bucket: current, endMs: (current * width + told) * 1_000, seconds: told };
  return [...grid.slice(1), last];
}

/** Joins points that follow each other, of which there must be one at least. */
export function joinPoints(points: readonly ActivityPoint[]): ActivityPoint {
  const sum = noActivity();
  for (const point of points) {
    addLane(sum.express, point.express);
    addLane(sum.backlog, point.backlog);
    sum.failed += point.failed;
  }
  return {
    ...sum,
    endMs: points.at(-1)?.endMs ?? 0,
    seconds: points.reduce((total, { seconds }) => total + seconds, 0),
  };
}

function addLane(sum: LaneActivity, { refreshed, lags }: LaneActivity): void {
  sum.refreshed += refreshed;
  lags.forEach((count, at) => (sum.lags[at] = (sum.lags[at] ?? 0) + count));
}

/**
 * The lag that this part of the refreshes doesn't exceed, in milliseconds, rounded up to the bound
 * of its histogram bucket; null if nothing had one.
 */
export function lagPercentile({ lags }: LaneActivity, part: number): number | null {
  const total = lags.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  const at = lags.findIndex((count) => (seen += count) >= total * part);
  return LAG_BOUNDS_MS[at] ?? LAG_BOUNDS_MS.at(-1) ?? null;
}
