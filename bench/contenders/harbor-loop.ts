import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { describeError } from '../../shared/errors.ts';
import { formatIdentity, type Identity } from '../../shared/execution.ts';
import { identityPages } from '../data.ts';
import { startContender } from '../processes.ts';
import type { Arena } from '../servers.ts';
import { signalGo, type ConnectWorker, type Contender, type Urls } from './contender.ts';
import { refreshWithFourStatements } from './four-statements.ts';

// As in Harbor's core, src/pkg/task/dao/execution.go and src/lib/cache/redis/redis.go.
const PROCESSES = 5;
const POP = 100;
const SCAN = 1_000;

/** The key of the set that Harbor's main writes its markers to. */
export const MARKER_SET = 'execution:status_outdate';

/** On main: all processes pop from one set, a hundred at a time, and refresh one after the other. */
export const onMain: Contender = harbor('harbor-main', "Harbor's loop, main (SPOP)", markInSet);

/** As released: each process scans all keys, shuffles them, and refreshes every one of them. */
export const asReleased: Contender = harbor(
  'harbor-released',
  "Harbor's loop, released (SCAN)",
  markWithKeys,
);

function harbor(
  name: string,
  title: string,
  mark: (redis: Redis, page: readonly Identity[]) => Promise<unknown>,
): Contender {
  return {
    name,
    family: 'harbor',
    title,
    workers: PROCESSES,
    refreshes: true,
    waitsInRedis: true,
    prepare: (arena) => withRedis(arena, mark),
    start: (arena) =>
      Promise.all(Array.from({ length: PROCESSES }, () => startContender(name, arena))),
    go: signalGo,
    // Not what is left in Redis: a process refreshes what it has in hand, popped or scanned.
    left: async (_arena, processes) => processes.filter(({ done }) => !done).length,
  };
}

/** Adds the members of the set, as Harbor's hooks do. */
export async function markInSet(redis: Redis, page: readonly Identity[]): Promise<void> {
  await redis.sadd(MARKER_SET, page.map(formatIdentity));
}

async function markWithKeys(redis: Redis, page: readonly Identity[]): Promise<void> {
  // The value is one byte, 0xA0.
  const pairs = page.flatMap((identity) => [keyOf(identity), Buffer.from([0xa0])]);
  await redis.mset(...pairs);
}

function keyOf({ executionId, vendor }: Identity): string {
  return `cache:execution:id:${executionId}:vendor:${vendor}:status_outdate`;
}

async function withRedis(
  arena: Arena,
  mark: (redis: Redis, page: readonly Identity[]) => Promise<unknown>,
): Promise<void> {
  const redis = new Redis(arena.redisUrl);
  for await (const page of identityPages(arena.database)) await mark(redis, page);
  redis.disconnect();
}

export const connectOnMain: ConnectWorker = async (urls) => {
  const { redis, database } = await connect(urls);
  return () => popAndRefresh(redis, database);
};

export const connectAsReleased: ConnectWorker = async (urls) => {
  const { redis, database } = await connect(urls);
  return async () => {
    const keys: string[] = [];
    const scan = redis.scanStream({
      match: 'cache:*execution:id:*vendor:*status_outdate*',
      count: SCAN,
    });
    for await (const page of scan) keys.push(...(page as string[]));
    for (const key of shuffled(keys)) {
      const id = Number(/execution:id:(\d+):/.exec(key)?.[1]);
      if (await refresh(database, id)) await redis.del(key);
    }
  };
};

/** The loop of main, once more every `intervalMs`, for measuring how late it is. Never resolves. */
export const connectPeriodic =
  (intervalMs: number): ConnectWorker =>
  async (urls) => {
    const { redis, database } = await connect(urls);
    return async () => {
      for (;;) {
        const begin = performance.now();
        await popAndRefresh(redis, database);
        await delay(Math.max(0, intervalMs - (performance.now() - begin)));
      }
    };
  };

async function popAndRefresh(redis: Redis, database: Client): Promise<void> {
  for (;;) {
    const members = await redis.spop(MARKER_SET, POP);
    const failed: string[] = [];
    for (const member of members) {
      if (!(await refresh(database, Number.parseInt(member, 10)))) failed.push(member);
    }
    if (failed.length > 0) await redis.sadd(MARKER_SET, failed);
    if (members.length < POP) return;
  }
}

async function connect(urls: Urls): Promise<{ redis: Redis; database: Client }> {
  const redis = new Redis(urls.redisUrl);
  const database = new Client({ connectionString: urls.databaseUrl });
  await Promise.all([redis.ping(), database.connect()]);
  return { redis, database };
}

async function refresh(database: Client, id: number): Promise<boolean> {
  try {
    await refreshWithFourStatements(database, id);
    return true;
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return false;
  }
}

function shuffled(keys: string[]): string[] {
  for (let last = keys.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [keys[last], keys[other]] = [keys[other] ?? '', keys[last] ?? ''];
  }
  return keys;
}
