import type { Redis } from 'ioredis';
import type { Config, ConfigWith } from '../process/config.ts';
import type { Logger } from '../process/logger.ts';
import { Outage } from '../process/outage.ts';
import { JOB_WAIT_S } from './job-wait.ts';
import { ioredis } from './packages.ts';
import { explainRedisError, isLostConnection, type RedisSettings } from './redis-errors.ts';
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
// made anew. Longer than whatever may keep an answer: the command timeout; a worker's blocking wait for jobs.
const SILENCE_MS = { failFast: 5_000, patient: JOB_WAIT_S * 1_000 + 2_000 };
// For a question to a connection beside one that was silent for that long.
const ANSWER_MS = 1_000;
// ioredis waits for as long as Redis expects to load its data, up to 10 s, before it looks again.
const LOADING_RETRY_MS = 1_000;
// ioredis says nothing while it waits for the end of the loading.
const NOT_READY_AFTER_MS = 2_000;
/** What is known of a server that takes a connection and doesn't become ready. */
export const NOT_READY = 'it takes connections and is still loading its data, or hangs';

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
 * @param config its REDIS_URL in a form of `parseRedisUrl`: through sentinels the connection follows the master, in a
 * cluster the node that serves the queue's slot
 * @throws UsageError when the URL names a file that can't be read, and nothing else
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
          // A command that has timed out is still worked on by Redis; sent again with each new connection, a slow one
          // would hold Redis for a multiple of its time. (BullMQ's workers wait for theirs without end, so they need it.)
          autoResendUnfulfilledCommands: false,
        }),
  });
  reportClosedAtOnce(redis);
  insistOnDatabase(redis);
  const outage = new Outage(log, 'Redis');
  redis.on('error', (error) =>
    // That a connection was lost which had been in use says nothing about why; the next try does.
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
  watchDuplicates(redis, log);
  return redis;
}

/**
 * Makes a connection anew whose database number was refused. ioredis would go on with number 0, where another
 * application may keep its keys.
 */
export function insistOnDatabase(redis: Redis): void {
  redis.on('error', (error: Error & { readonly command?: { readonly name: string } }) => {
    if (error.command?.name !== 'select' || redis.status !== 'connect') return;
    // In this turn ioredis still sends its next question; not to be able to would be an error that hides this one.
    setImmediate(() => redis.stream.destroy());
  });
}

/**
 * Emits an error when a server, or a proxy without one, takes connections and closes them before they can be used: of
 * that ioredis says nothing.
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
    // Once may be this side, which goes to another node of a cluster.
    if (closedInARow > 1 && redis.status === 'reconnecting') {
      redis.emit('error', new Error('Connection is closed.'));
    }
  });
}

// BullMQ waits for jobs on a duplicate, which it listens to only while it uses it; an error that nobody hears would be
// printed to the console. Where all connections are lost, the first one says so.
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
 * Makes a connection anew that doesn't answer soon. While there are no jobs a worker's first connection owes no answer, so
 * what has silenced the one that waits for them would show on it only when the next job comes, and delay that job.
 */
function renewUnlessAnswered(redis: Redis): void {
  const { stream } = redis;
  const late = setTimeout(() => stream.destroy(new Error('it does not answer')), ANSWER_MS);
  const answered = (): void => clearTimeout(late);
  redis.ping().then(answered, answered);
}

/** What an error of this connection is explained with. */
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
