import type { Redis } from 'ioredis';
import { describeError } from '../errors.ts';
import type { Config } from '../process/config.ts';
import { ok, problem, problemOf, warning, type Check, type Verdict } from '../process/finding.ts';
import { probeQueue } from './queue-probe.ts';
import { clockDifference, MAX_CLOCK_DIFFERENCE_S } from './redis-server.ts';
import type { RefreshQueue } from './refresh-queue.ts';

const PINGS = 15;
const SLOW_MS = 10;
const FULL = 0.8;

/**
 * The checks of the queue's Redis. What the queue needs is tried on keys that are removed again.
 */
export function redisChecks(config: Config, queue: RefreshQueue, redis: Redis): Check[] {
  const info = once(async () => parseInfo(await redis.info()));
  return [
    { name: 'version', look: async () => ok((await info()).get('redis_version') ?? 'unknown') },
    { name: 'eviction policy', look: async () => checkEviction(await info()) },
    { name: 'persistence', look: async () => checkPersistence(await info()) },
    { name: 'memory', look: async () => checkMemory(await info()) },
    { name: 'role', look: async () => checkRole(await info()) },
    { name: 'clock', look: () => checkClock(redis) },
    { name: 'latency', look: () => checkLatency(redis) },
    { name: 'rights', look: () => checkRights(config, queue, redis) },
  ];
}

type Info = ReadonlyMap<string, string>;

/** Parses INFO's lines `name:value`. */
function parseInfo(text: string): Info {
  return new Map(
    text.split(/\r?\n/).flatMap((line): [string, string][] => {
      const at = line.indexOf(':');
      return at > 0 ? [[line.slice(0, at), line.slice(at + 1)]] : [];
    }),
  );
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let promise: Promise<T> | undefined;
  return () => (promise ??= read());
}

function checkEviction(info: Info): Verdict {
  const policy = info.get('maxmemory_policy') ?? 'unknown';
  if (policy === 'noeviction') return ok(policy);
  return problem(
    `Redis may evict jobs (maxmemory-policy ${policy})`,
    'run: redis-cli CONFIG SET maxmemory-policy noeviction, and set it in redis.conf',
  );
}

function checkPersistence(info: Info): Verdict {
  if (info.get('aof_enabled') === '1') {
    return info.get('aof_last_write_status') === 'ok'
      ? ok('append-only file')
      : problem(
          "the append-only file can't be written",
          'make room on its disk; the log of Redis has the cause',
        );
  }
  if (info.get('rdb_last_bgsave_status') === 'err') {
    return problem(
      'the last snapshot failed; Redis refuses writes until one succeeds',
      'make room on its disk and memory, then run: redis-cli BGSAVE',
    );
  }
  return warning(
    'no append-only file: a restart of Redis loses the queue. Tally resends whatever has an outbox row; jobs from tally enqueue and from retries are lost',
    'run: redis-cli CONFIG SET appendonly yes, and set it in redis.conf',
  );
}

function checkMemory(info: Info): Verdict {
  const used = Number(info.get('used_memory'));
  const most = Number(info.get('maxmemory')) || Number(info.get('total_system_memory'));
  const text = `${mebibytes(used)} of ${mebibytes(most)} MiB`;
  if (!(used > most * FULL)) return ok(text);
  return warning(
    `${text}; at the limit Redis refuses new jobs`,
    'raise maxmemory, or see what else is kept there',
  );
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576);
}

function checkRole(info: Info): Verdict {
  const role = info.get('role') ?? 'unknown';
  if (role !== 'slave') return ok(role);
  return problem(
    'a replica, which takes no writes',
    'point REDIS_URL at the master, or at the sentinels',
  );
}

async function checkClock(redis: Redis): Promise<Verdict> {
  const difference = clockDifference(await redis.time());
  if (difference === undefined) return ok(`within ${MAX_CLOCK_DIFFERENCE_S} s of this machine`);
  return warning(
    `this machine is ${difference} Redis, so failed jobs are retried that much too late or too early`,
    'synchronize both clocks with NTP',
  );
}

async function checkLatency(redis: Redis): Promise<Verdict> {
  const times: number[] = [];
  for (let n = 0; n < PINGS; n++) {
    const begin = performance.now();
    await redis.ping();
    times.push(performance.now() - begin);
  }
  const median = times.toSorted((a, b) => a - b)[Math.floor(PINGS / 2)] ?? 0;
  const text = `${median.toFixed(1)} ms a round trip`;
  return median <= SLOW_MS
    ? ok(text)
    : warning(text, 'run Tally closer to Redis: a refresh takes several round trips');
}

async function checkRights(config: Config, queue: RefreshQueue, redis: Redis): Promise<Verdict> {
  try {
    await probeQueue(config, queue, redis);
  } catch (error) {
    return problemOf(describeError(error));
  }
  return ok(`the queue's commands on ${config.QUEUE_PREFIX}:* are allowed`);
}
