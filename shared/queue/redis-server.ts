import type { Redis } from 'ioredis';
import type { Logger } from '../process/logger.ts';
import { explainRedisError } from './redis-errors.ts';
import { settingsOf } from './redis.ts';

/** The oldest Redis that BullMQ works with. Valkey counts its versions on from Redis 7.2. */
export const OLDEST_REDIS = '6.2.0';
// BullMQ times the next try of a failed job by the clock of the worker that ran it.
const MAX_CLOCK_DIFFERENCE_S = 10;

/**
 * Why this server is too old for the queue.
 * @returns undefined when it isn't, or when its user may not ask (`INFO`)
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

/** Logs what makes a queue unsafe on the server, after every connect, since another may have taken its place. */
export function warnOfServer(redis: Redis, log: Logger): void {
  const said = new Set<string>();
  const look = async (): Promise<void> => {
    for (const warning of await redisWarnings(redis)) {
      if (!said.has(warning)) log.warn(warning);
      said.add(warning);
    }
  };
  // A connection that is lost meanwhile is logged where it is made, and the next one looks again.
  redis.on('ready', () => void look().catch(() => undefined));
}

/**
 * Facts about a Redis server that decide whether a queue is safe on it, and about this machine's clock beside it.
 * What the user may not ask is a warning of its own.
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

function clockWarning([seconds]: readonly (number | string)[]): string | undefined {
  const aheadS = Math.round(Date.now() / 1000 - Number(seconds));
  if (Math.abs(aheadS) <= MAX_CLOCK_DIFFERENCE_S) return undefined;
  const difference = `${Math.abs(aheadS)} s ${aheadS > 0 ? 'ahead of' : 'behind'}`;
  return `the clock of this machine is ${difference} that of Redis, and a job that failed is tried again that much too late or too early; set it by NTP`;
}

function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}
