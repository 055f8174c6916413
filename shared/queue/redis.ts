import type { Redis } from 'ioredis';
import type { Config, ConfigWith } from '../process/config.ts';
import type { Logger } from '../process/logger.ts';
import { Outage } from '../process/outage.ts';
import { JOB_WAIT_S } from './job-wait.ts';
import { ioredis } from './packages.ts';
import { explainRedisError, isLostConnection, type RedisSettings } from './redis-errors.ts';
import { addressOptions, type RedisSetting } from './redis-options.ts';
import { parseRedisUrl } from '../process/redis-url.ts';
import { followSlotOwner } from './slot-owner.ts';

/**
 * How a connection behaves while Redis is unavailable. `failFast`, for callers that owe an answer:
 * a command fails within 3 s. `patient`, for workers: a command waits for as long as it takes and
 * is sent once Redis is back. (A command timeout would break BullMQ's blocking wait.)
 */
export type RedisProfile = 'failFast' | 'patient';

// A connection whose peer vanished silently (a host that lost power, a firewall entry that expired)
// would hang until the kernel gives up after about 15 minutes. So a connection that has owed an
// answer for this long is replaced. It must exceed whatever may delay an answer: the command
// timeout, or a worker's blocking wait for jobs.
const SILENCE_MS = { failFast: 5_000, patient: JOB_WAIT_S * 1_000 + 2_000 };
// Time to answer a PING, once another connection was silent for that long.
const ANSWER_MS = 1_000;
// ioredis would wait as long as Redis expects its loading to take, up to 10 s.
const LOADING_RETRY_MS = 1_000;
// ioredis emits nothing while it waits for Redis to load its data.
const NOT_READY_AFTER_MS = 2_000;
/** What can be said of a server that accepts a connection but doesn't become ready. */
export const NOT_READY = 'it takes connections and is still loading its data, or hangs';

/** Milliseconds after which a command fails on a connection that mustn't hang. */
export const COMMAND_TIMEOUT_MS = 3_000;

/**
 * Milliseconds to wait before the next attempt to connect. ioredis' default backs off to 20 s, but
 * work must resume within seconds of an outage.
 */
export function reconnectDelayMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 10), 1_000);
}

/**
 * Opens a connection to the queue's Redis that reconnects by itself, at least once a second. An
 * outage is logged once when it begins and once when it ends.
 * @param config with REDIS_URL in a form of `parseRedisUrl`: with sentinels, the connection follows
 *   the master; in a cluster, the node that serves the queue's slot
 * @throws UsageError if the URL names a file that can't be read
 */
export function connectRedis(
  {
    REDIS_URL: url,
    QUEUE_PREFIX: prefix,
  }: Pick<ConfigWith<'REDIS_URL'>, 'REDIS_URL' | 'QUEUE_PREFIX'>,
  profile: RedisProfile,
  log: Logger,
): Redis {
  const address = parseRedisUrl(url);
  const options = addressOptions(address, 'REDIS_URL');
  const redis = new ioredis.Redis({
    ...(address.kind === 'server' || address.kind === 'cluster'
      ? followSlotOwner(address, options, `${prefix}:owner`, reconnectDelayMs)
      : options),
    connectTimeout: 5_000,
    socketTimeout: SILENCE_MS[profile],
    maxLoadingRetryTime: LOADING_RETRY_MS,
    retryStrategy: reconnectDelayMs,
    sentinelRetryStrategy: reconnectDelayMs,
    ...(profile === 'patient'
      ? { maxRetriesPerRequest: null }
      : {
          maxRetriesPerRequest: 1,
          commandTimeout: COMMAND_TIMEOUT_MS,
          // Redis still works on a command that timed out. Resending a slow one with each new
          // connection would block Redis for a multiple of its time. (BullMQ's workers wait without
          // a timeout, so they need it resent.)
          autoResendUnfulfilledCommands: false,
        }),
  });
  reportDenied(redis);
  reportClosedAtOnce(redis);
  insistOnDatabase(redis);
  logOutages(redis, log);
  watchDuplicates(redis, log);
  return redis;
}

function logOutages(redis: Redis, log: Logger): void {
  const outage = new Outage(log, 'Redis');
  redis.on('error', (error) =>
    // A lost connection that was in use says nothing about why; the next attempt does.
    outage.begin(
      redis.status === 'ready' && isLostConnection(error)
        ? error
        : explainRedisError(error, settingsOf(redis)),
    ),
  );
  redis.on('ready', () => outage.end());
  redis.on('connect', () => {
    const say = (): void => {
      if (redis.status === 'connect') outage.begin(NOT_READY);
    };
    setTimeout(say, NOT_READY_AFTER_MS).unref();
  });
}

/**
 * Closes a connection whose database number was refused, so that ioredis reconnects. Otherwise it
 * would go on with number 0, where another application may keep its keys.
 */
export function insistOnDatabase(redis: Redis): void {
  redis.on('error', (error: Error & { readonly command?: { readonly name: string } }) => {
    if (error.command?.name !== 'select' || redis.status !== 'connect') return;
    // ioredis sends its next command in this turn; if that failed, its error would hide this one.
    setImmediate(() => redis.stream.destroy());
  });
}

/**
 * Emits an error if a server, or a proxy in front of none, accepts connections and closes them
 * before they can be used. ioredis emits nothing then.
 */
export function reportClosedAtOnce(redis: Redis): void {
  let connected = false;
  let closedInARow = 0;
  redis.on('connect', () => (connected = true));
  for (const event of ['ready', 'error']) {
    redis.on(event, () => {
      connected = false;
      closedInARow = 0;
    });
  }
  redis.on('close', () => {
    if (connected) closedInARow++;
    connected = false;
    // A single one may be our own, on the way to another node of a cluster.
    if (closedInARow > 1 && redis.status === 'reconnecting') {
      redis.emit('error', new Error('Connection is closed.'));
    }
  });
}

/**
 * Emits an error with what a server in protected mode says to each connection before it closes it.
 * ioredis takes that for the answer to its own first command, and passes on only that the
 * connection was closed.
 */
export function reportDenied(redis: Redis): void {
  redis.on('connect', () => {
    const { stream } = redis;
    stream.once('data', (chunk: Buffer) => {
      // Pages of advice follow the first sentence.
      const denied = /^-(DENIED [^.]*)/.exec(chunk.toString())?.[1];
      if (denied !== undefined) stream.destroy(new Error(denied));
    });
  });
}

// BullMQ waits for jobs on a duplicate, and listens to it only while it uses it; unheard errors
// would be printed to the console. If all connections are lost, the first one logs it.
function watchDuplicates(redis: Redis, log: Logger): void {
  const outage = new Outage(log, 'a second connection to Redis');
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (options) => {
    const copy = duplicate(options);
    copy.on('error', (error) => {
      if (redis.status !== 'ready') return;
      outage.begin(explainRedisError(error, settingsOf(redis)));
      if (isSilence(error)) renewUnlessAnswered(redis);
    });
    copy.on('ready', () => outage.end());
    return copy;
  };
}

function isSilence(error: Error): boolean {
  return error.message.startsWith('Socket timeout');
}

/**
 * Replaces a connection that doesn't answer soon. An idle worker's first connection owes no answer,
 * so it wouldn't notice what silenced the one that waits for jobs, and would delay the next job.
 */
function renewUnlessAnswered(redis: Redis): void {
  const { stream } = redis;
  const late = setTimeout(() => stream.destroy(new Error('it does not answer')), ANSWER_MS);
  const answered = (): void => clearTimeout(late);
  redis.ping().then(answered, answered);
}

/** What `explainRedisError` needs to know about this connection. */
export function settingsOf(
  { options }: Redis,
  config?: Config,
  variable: RedisSetting = 'REDIS_URL',
): RedisSettings {
  return {
    variable,
    user: options.username || 'default',
    tls: options.tls !== undefined,
    ...(config && { prefix: config.QUEUE_PREFIX }),
  };
}
