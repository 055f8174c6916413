import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';

/** A grid of buckets in which the history is kept in Redis. */
export interface Resolution {
  readonly seconds: number;
  readonly keptSeconds: number;
  readonly key: string;
}

/** Ten seconds each, for charts of up to an hour. */
export const FINE: Resolution = { seconds: 10, keptSeconds: 7_200, key: 'refresh-activity' };
/**
 * Five minutes each, for a day. Both grids together are about 1,000 hashes of some hundred bytes,
 * however many workers and refreshes there are.
 */
export const COARSE: Resolution = {
  seconds: 300,
  keptSeconds: 90_000,
  key: 'refresh-activity-5min',
};

// A heartbeat expires after this long; its worker is then gone.
const SIGN_OF_LIFE_SECONDS = 45;

/** Upper bounds of the histogram's buckets for lags; one more bucket lies above the last. */
export const LAG_BOUNDS_MS: readonly number[] = [
  5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 45_000,
  60_000, 90_000, 120_000, 180_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

/** Key of a bucket; its number is its start in seconds since 1970, divided by the resolution. */
export function bucketKey(config: Config, { key }: Resolution, bucket: number): string {
  return `${config.QUEUE_PREFIX}:${key}:${bucket}`;
}

function workerKey(config: Config, name: string): string {
  return `${config.QUEUE_PREFIX}:refresh-worker:${name}`;
}

/** The way that a refresh took to Postgres. */
export type Lane = 'express' | 'backlog';

/** What was refreshed in one lane. */
export interface LaneActivity {
  refreshed: number;
  /** Refreshes by histogram bucket of their lag, from request to refresh. */
  readonly lags: number[];
}

/** What one worker has done since its last report, or all of them in the time of a bucket. */
export interface Activity {
  readonly express: LaneActivity;
  readonly backlog: LaneActivity;
  failed: number;
}

/** An activity in which nothing has been done. */
export function noActivity(): Activity {
  const lane = (): LaneActivity => ({
    refreshed: 0,
    lags: LAG_BOUNDS_MS.map(() => 0).concat(0),
  });
  return { express: lane(), backlog: lane(), failed: 0 };
}

/** Counts a refresh. @param lagMs null if nobody knows when it was requested */
export function countRefresh(lane: LaneActivity, lagMs: number | null): void {
  lane.refreshed++;
  if (lagMs === null) return;
  const found = LAG_BOUNDS_MS.findIndex((bound) => lagMs <= bound);
  const at = found < 0 ? LAG_BOUNDS_MS.length : found;
  lane.lags[at] = (lane.lags[at] ?? 0) + 1;
}

/** What a worker tells the overview about itself. */
export interface WorkerHeartbeat {
  readonly startedAt: string;
  readonly concurrency: number;
}

/**
 * Adds what a worker did in the last ten seconds to what the others did, and renews its heartbeat.
 * This is for people to look at: no decision depends on it, and it is lost with Redis. It is there
 * for every dashboard, and survives the restart of all of Tally's processes.
 * @throws an error from `ioredis`
 */
export async function recordActivity(
  redis: Redis,
  config: Config,
  {
    name,
    heartbeat,
    activity,
  }: {
    /** Of the worker. */
    readonly name: string;
    readonly heartbeat: WorkerHeartbeat;
    readonly activity: Activity;
  },
): Promise<void> {
  // By Redis' clock, because those of the workers may differ. Half an interval back, because it has
  // just ended.
  const [seconds] = await redis.time();
  const at = Number(seconds) - FINE.seconds / 2;
  const commands = redis
    .multi()
    .set(workerKey(config, name), JSON.stringify(heartbeat), 'EX', SIGN_OF_LIFE_SECONDS);
  const counts = Object.entries(fieldsOf(activity)).filter(([, count]) => count > 0);
  for (const resolution of [FINE, COARSE]) {
    const key = bucketKey(config, resolution, Math.floor(at / resolution.seconds));
    for (const [field, count] of counts) commands.hincrby(key, field, count);
    commands.expire(key, resolution.keptSeconds);
  }
  await commands.exec();
}

// `refreshed` and `lag:…` count both lanes, as they did before there were two.
function fieldsOf({ express, backlog, failed }: Activity): Record<string, number> {
  return {
    refreshed: express.refreshed + backlog.refreshed,
    'backlog:refreshed': backlog.refreshed,
    failed,
    ...Object.fromEntries(
      express.lags.flatMap((count, at) => {
        const ofBacklog = backlog.lags[at] ?? 0;
        return [
          [`lag:${at}`, count + ofBacklog],
          [`backlog:lag:${at}`, ofBacklog],
        ];
      }),
    ),
  };
}

/** Reads what {@link recordActivity} wrote; anybody with access to Redis can write there. */
export function activityOf(fields: Readonly<Record<string, string>>): Activity {
  const count = (name: string): number => {
    const value = Number(fields[name] ?? 0);
    return Number.isFinite(value) ? Math.max(0, value) : 0;
  };
  const less = (name: string): number => Math.max(0, count(name) - count(`backlog:${name}`));
  return {
    express: {
      refreshed: less('refreshed'),
      lags: noActivity().express.lags.map((_, at) => less(`lag:${at}`)),
    },
    backlog: {
      refreshed: count('backlog:refreshed'),
      lags: noActivity().backlog.lags.map((_, at) => count(`backlog:lag:${at}`)),
    },
    failed: count('failed'),
  };
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
