import { Redis } from 'ioredis';
import { TallyError } from '../errors.ts';
import type { Config } from '../process/config.ts';
import type { Logger } from '../process/logger.ts';
import { Outage } from '../process/outage.ts';
import { explainRedisError } from './redis-errors.ts';
import { addressOptions, type RedisSetting } from './redis-options.ts';
import { parseRedisUrl } from './redis-url.ts';
import { followSlotOwner } from './slot-owner.ts';

/**
 * How a connection behaves while Redis is away. `failFast`, for whoever has an answer to give:
 * a command fails within 3 s. `patient`, for workers: a command waits for ever and is sent when
 * Redis is back (a command timeout would break BullMQ's blocking wait).
 */
export type RedisProfile = 'failFast' | 'patient';

// A connection whose other end is gone without a word (a host that lost its power, a forgotten entry in a firewall)
// would stay as it is until the kernel gives up after some 15 minutes. So one that owes an answer for this long is
// made anew. Longer than whatever may keep an answer: the command timeout; BullMQ's blocking wait of up to 10 s.
const SILENCE_MS = { failFast: 5_000, patient: 12_000 };
// BullMQ times the next try of a failed job by the clock of the worker that ran it.
const MAX_CLOCK_DIFFERENCE_S = 10;

/** After which a command of a connection that must not hang fails. */
export const COMMAND_TIMEOUT_MS = 3_000;

/**
 * How long to wait before the next try to connect, in milliseconds. ioredis' own strategy backs off to 20 s;
 * after an outage work must resume within seconds.
 */
export function reconnectDelayMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 10), 1_000);
}

/**
 * Opens a connection to the queue's Redis that reconnects by itself, at least once a second. That Redis is
 * away is logged once, and once more when it is back.
 * @param config with REDIS_URL in a form of `parseRedisUrl`: through sentinels the connection follows the master, in a
 * cluster the node that serves the queue's slot
 * @throws UsageError when the URL names a file that can't be read, and nothing else
 */
export function connectRedis(
  { REDIS_URL: url = '', QUEUE_PREFIX: prefix }: Pick<Config, 'REDIS_URL' | 'QUEUE_PREFIX'>,
  profile: RedisProfile,
  log: Logger,
): Redis {
  const address = parseRedisUrl(url);
  const options = addressOptions(address, 'REDIS_URL');
  const redis = new Redis({
    ...(address.kind === 'server' || address.kind === 'cluster'
      ? followSlotOwner(address, options, `${prefix}:owner`, reconnectDelayMs)
      : options),
    connectTimeout: 5_000,
    socketTimeout: SILENCE_MS[profile],
    retryStrategy: reconnectDelayMs,
    sentinelRetryStrategy: reconnectDelayMs,
    ...(profile === 'patient'
      ? { maxRetriesPerRequest: null }
      : {
          maxRetriesPerRequest: 1,
          commandTimeout: COMMAND_TIMEOUT_MS,
          // A command that has timed out is still worked on by Redis; sent again with each new connection, a slow one
          // would hold Redis for a multiple of its time. (BullMQ's workers wait for theirs without end, so they need it.)
          autoResendUnfulfilledCommands: false,
        }),
  });
  const outage = new Outage(log, 'Redis');
  redis.on('error', (error) => outage.begin(explainRedisError(error, 'REDIS_URL')));
  redis.on('ready', () => outage.end());
  return redis;
}

/**
 * Waits until a connection is usable, for commands that run once and end.
 * @param variable the setting that named the server
 * @throws TallyError REDIS_AWAY after `timeoutMs` milliseconds
 */
export async function waitForRedis(
  redis: Redis,
  timeoutMs: number,
  variable: RedisSetting = 'REDIS_URL',
): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    let cause: unknown;
    const remember = (error: unknown): void => {
      cause = error;
    };
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      redis.off('ready', onReady);
      redis.off('error', remember);
      settle();
    };
    const onReady = (): void => finish(resolve);
    const timer = setTimeout(
      () =>
        finish(() =>
          reject(
            new TallyError(
              'REDIS_AWAY',
              `Redis at ${placeOf(redis)} does not answer; check ${variable} and that the server runs`,
              { cause },
            ),
          ),
        ),
      timeoutMs,
    );
    redis.on('ready', onReady);
    redis.on('error', remember);
  });
}

function placeOf({ options }: Redis): string {
  const { sentinels, name, path } = options;
  if (path) return path;
  if (!sentinels) return `${options.host}:${options.port}`;
  return `${sentinels.map(({ host, port }) => `${host}:${port}`).join(', ')} (master ${name})`;
}

/** Facts about a Redis server that decide whether a queue is safe on it, and about this machine's clock beside it. */
export async function redisWarnings(redis: Redis): Promise<string[]> {
  const [info, [seconds]] = await Promise.all([redis.info(), redis.time()]);
  const field = (name: string): string =>
    new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const warnings: string[] = [];
  const version = field('redis_version');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    warnings.push(`Redis ${version} is older than 6.2, which BullMQ needs; upgrade it`);
  }
  const policy = field('maxmemory_policy');
  if (policy !== '' && policy !== 'noeviction') {
    warnings.push(
      `Redis may evict jobs (maxmemory-policy ${policy}); run: redis-cli CONFIG SET maxmemory-policy noeviction`,
    );
  }
  const aheadS = Math.round(Date.now() / 1000 - Number(seconds));
  if (Math.abs(aheadS) > MAX_CLOCK_DIFFERENCE_S) {
    const difference = `${Math.abs(aheadS)} s ${aheadS > 0 ? 'ahead of' : 'behind'}`;
    warnings.push(
      `the clock of this machine is ${difference} that of Redis, and a job that failed is tried again that much too late or too early; set it by NTP`,
    );
  }
  return warnings;
}
