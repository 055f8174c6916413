import type { Redis } from 'ioredis';
import { describeError, TallyError } from '../errors.ts';
import type { Config } from '../process/config.ts';
import type { Logger } from '../process/logger.ts';
import { runLoop } from '../process/loop.ts';
import { Outage } from '../process/outage.ts';
import { explainRedisError, isRefusal } from './redis-errors.ts';
import { versionProblem } from './redis-server.ts';
import { settingsOf } from './redis.ts';
import type { RefreshQueue } from './refresh-queue.ts';

const POLL_MS = 500;
// BullMQ calls its scripts by checksum (EVALSHA), and sends their text only to a Redis that doesn't
// know them.
const CHECKSUM_OF_NO_SCRIPT = '0'.repeat(40);
// BullMQ waits for jobs with BZPOPMIN, which doesn't block inside a script. Redis before 7.0.8
// rounds less than 2 ms to zero, which waits for ever.
const WAIT_S = 0.01;

/** Types of the keys that BullMQ keeps for a queue. */
const KEY_TYPES: Readonly<Record<string, string>> = {
  wait: 'list',
  paused: 'list',
  active: 'list',
  delayed: 'zset',
  prioritized: 'zset',
  completed: 'zset',
  failed: 'zset',
  marker: 'zset',
  stalled: 'set',
  meta: 'hash',
  events: 'stream',
};

/**
 * Runs commands until one is refused, and leaves nothing behind. An error from one of BullMQ's
 * scripts doesn't say which command it was.
 */
const REHEARSAL = `
local refused = false
for _, command in ipairs(cjson.decode(ARGV[1])) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    refused = { string.lower(command[1]), answer.err }
    break
  end
end
for _, key in ipairs(KEYS) do redis.pcall('DEL', key) end
local types = cjson.decode(ARGV[2])
for key, wanted in pairs(types) do
  local found = redis.pcall('TYPE', key)
  if not refused and found.ok and found.ok ~= 'none' and found.ok ~= wanted then
    refused = { 'type', key .. ' is a ' .. found.ok .. ', and is no ' .. wanted }
  end
end
return refused`;

/**
 * Resolves if this Redis accepts what it takes to enqueue, fetch and complete a job: the commands
 * of BullMQ's scripts, on keys of the queue, with the rights of this connection. It runs one script
 * of about 50 commands on a few keys of its own, which it removes again.
 * @throws TallyError REDIS_TOO_OLD or REDIS_REFUSED, with what to do
 * @throws an error from `ioredis`
 */
export async function probeQueue(config: Config, queue: RefreshQueue, redis: Redis): Promise<void> {
  const settings = settingsOf(redis, config);
  const keys = ['list', 'moved', 'hash', 'zset', 'set', 'stream', 'string'].map((name) =>
    queue.toKey(`probe:${name}`),
  );
  const types = Object.entries(KEY_TYPES).map(([name, type]) => [queue.toKey(name), type]);
  const [tooOld, refused] = await Promise.all([
    versionProblem(redis),
    redis.eval(
      REHEARSAL,
      keys.length,
      ...keys,
      JSON.stringify(commandsOn(keys)),
      JSON.stringify(Object.fromEntries(types)),
    ) as Promise<[command: string, cause: string] | null>,
    redis.evalsha(CHECKSUM_OF_NO_SCRIPT, 0).catch((error: unknown) => {
      if (!describeError(error).startsWith('NOSCRIPT')) throw error;
    }),
    redis.bzpopmin(queue.toKey('probe:zset'), WAIT_S),
  ]).catch((error: unknown) => {
    throw isRefusal(error) ? refusal(explainRedisError(error, settings), error) : error;
  });
  if (tooOld !== undefined) throw new TallyError('REDIS_TOO_OLD', tooOld);
  if (refused !== null) {
    const [command, cause] = refused;
    throw refusal(`${command}: ${explainRedisError(new Error(cause), settings, command)}`);
  }
}

/**
 * Finds the cause of an error that the queue met. A script's error doesn't say which command was
 * refused; a probe does.
 * @returns what the probe found, else the error itself
 */
export async function findCause(thrown: unknown, probe: () => Promise<void>): Promise<unknown> {
  try {
    await probe();
  } catch (found) {
    if (found instanceof TallyError) return found;
  }
  return thrown;
}

function refusal(why: string, cause?: Error): TallyError {
  return new TallyError('REDIS_REFUSED', `Redis refuses what the queue needs: ${why}`, { cause });
}

/** The commands of BullMQ's scripts and of the overview's counters, each once. */
function commandsOn(keys: readonly string[]): string[][] {
  const [list = '', moved = '', hash = '', zset = '', set = '', stream = '', string = ''] = keys;
  return [
    // First, because a Redis without memory refuses it only while the script hasn't written
    // anything.
    ['SET', string, '1', 'PX', '1000'],
    ['DEL', ...keys],
    ['SET', string, '1', 'PX', '1000'],
    ['GET', string],
    ['INCR', string],
    ['EXISTS', string],
    ['PTTL', string],
    ['PEXPIRE', string, '1000'],
    ['EXPIRE', string, '1'],
    ['PERSIST', string],
    ['LPUSH', list, 'a', 'b'],
    ['RPUSH', list, 'c'],
    ['RPOPLPUSH', list, moved],
    ['LLEN', list],
    ['LRANGE', list, '0', '0'],
    ['LINDEX', list, '0'],
    ['LPOS', list, 'a'],
    ['LREM', moved, '1', 'c'],
    ['LTRIM', list, '0', '0'],
    ['RPOP', list],
    ['HSET', hash, 'a', '1'],
    ['HMSET', hash, 'b', '1'],
    ['HINCRBY', hash, 'a', '1'],
    ['HGET', hash, 'a'],
    ['HMGET', hash, 'a', 'b'],
    ['HGETALL', hash],
    ['HEXISTS', hash, 'a'],
    ['HDEL', hash, 'a'],
    ['ZADD', zset, '1', 'a', '2', 'b', '3', 'c'],
    ['ZSCORE', zset, 'a'],
    ['ZCARD', zset],
    ['ZCOUNT', zset, '0', '1'],
    ['ZRANGE', zset, '0', '0'],
    ['ZREVRANGE', zset, '0', '0'],
    ['ZRANGEBYSCORE', zset, '0', '1'],
    ['ZREVRANGEBYSCORE', zset, '1', '0'],
    ['ZPOPMIN', zset],
    ['ZREM', zset, 'b'],
    ['ZREMRANGEBYSCORE', zset, '0', '1'],
    ['ZREMRANGEBYRANK', zset, '0', '0'],
    ['SADD', set, 'a'],
    ['SCARD', set],
    ['SMEMBERS', set],
    ['SREM', set, 'a'],
    ['XADD', stream, '*', 'a', '1'],
    ['XTRIM', stream, 'MAXLEN', '0'],
  ];
}

/**
 * Waits until a probe succeeds, and logs once what Redis refuses; the connection logs that it is
 * unreachable. Resolves early when the signal aborts, and never rejects.
 */
export async function waitForQueue(
  probe: () => Promise<void>,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  const outage = new Outage(log, 'the queue in Redis');
  await runLoop({
    signal,
    outage: {
      begin: (error) => {
        if (error instanceof TallyError) outage.begin(error);
      },
      end: () => outage.end(),
    },
    retry: { firstMs: POLL_MS, maxMs: POLL_MS },
    step: async () => {
      await probe();
      return undefined;
    },
  });
}
