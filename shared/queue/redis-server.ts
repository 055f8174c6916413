import type { Redis } from 'ioredis';
import type { Logger } from '../process/logger.ts';
import { explainRedisError } from './redis-errors.ts';
import { settingsOf } from './redis.ts';

/** The oldest Redis that BullMQ supports. Valkey continues the version numbers of Redis 7.2. */
export const OLDEST_REDIS = '6.2.0';
// BullMQ schedules retries by the clock of the worker that ran the job.
export const MAX_CLOCK_DIFFERENCE_S = 10;

/**
 * Why this server is too old for the queue.
 * @returns undefined if it isn't, or if the user may not run INFO; never rejects
 */
export async function versionProblem(redis: Redis): Promise<string | undefined> {
  const info = await redis.info('server').catch(() => '');
  const version = fieldOf(info, 'redis_version');
  return isTooOld(version)
    ? `Redis ${version} is older than ${OLDEST_REDIS}, which BullMQ needs; upgrade it`
    : undefined;
}

function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST_REDIS.split('.').map(Number);
  if (version === '') return false;
  return major < oldestMajor || (major === oldestMajor && minor < oldestMinor);
}

/**
 * Logs whatever makes a queue unsafe on the server, after each connect, because another server may
 * have taken its place.
 */
export function warnOfServer(redis: Redis, log: Logger): void {
  const said = new Set<string>();
  const look = async (): Promise<void> => {
    for (const warning of await redisWarnings(redis)) {
      if (!said.has(warning)) log.warn(warning);
      said.add(warning);
    }
  };
  // Lost connections are logged elsewhere, and the next connect checks again.
  redis.on('ready', () => void look().catch(() => undefined));
}

/**
 * What makes a queue unsafe on this server, and how far this machine's clock is from the server's.
 * What the user may not ask becomes a warning as well.
 */
async function redisWarnings(redis: Redis): Promise<string[]> {
  const settings = settingsOf(redis);
  const unknown = (what: string) => (error: unknown) =>
    `${what} can't be checked: ${explainRedisError(error, settings)}`;
  const answers = await Promise.all([
    redis.info('memory').then(evictionWarning, unknown('whether Redis may evict jobs')),
    redis.time().then(clockWarning, unknown('the clock of Redis')),
  ]);
  return answers.filter((warning) => warning !== undefined);
}

function evictionWarning(info: string): string | undefined {
  const policy = fieldOf(info, 'maxmemory_policy');
  if (policy === '' || policy === 'noeviction') return undefined;
  return `Redis may evict jobs (maxmemory-policy ${policy}); run: redis-cli CONFIG SET maxmemory-policy noeviction`;
}

function clockWarning(time: RedisTime): string | undefined {
  const difference = clockDifference(time);
  if (difference === undefined) return undefined;
  return `the clock of this machine is ${difference} that of Redis, so failed jobs are retried that much too late or too early; synchronize it with NTP`;
}

type RedisTime = Awaited<ReturnType<Redis['time']>>;

/**
 * How far the clock of this machine is from that of Redis, as in `12 s ahead of`.
 * @param time the answer to TIME
 * @returns undefined when it is near enough
 */
export function clockDifference([seconds]: RedisTime): string | undefined {
  const aheadS = Math.round(Date.now() / 1000 - Number(seconds));
  if (Math.abs(aheadS) <= MAX_CLOCK_DIFFERENCE_S) return undefined;
  return `${Math.abs(aheadS)} s ${aheadS > 0 ? 'ahead of' : 'behind'}`;
}

function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
