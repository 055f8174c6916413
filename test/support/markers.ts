import type { Redis } from 'ioredis';
import { afterAll } from 'vitest';
import { connectHarborRedis } from '../../shared/harbor/redis.ts';
import { waitForRedis } from '../../shared/queue/wait-for-redis.ts';
import { newRedis } from './servers.ts';
import { silent } from './stores.ts';

/** Not the first, so that a number that is ignored is noticed. */
const HARBOR_DB = 7;

/** What stands in for Harbor's Redis: a server of this file's own, gone when the file is done. */
export interface HarborRedis {
  /** With the number of the database that markers are in. */
  readonly url: string;
  readonly redis: Redis;
}

/** Call it at the top of a file. */
export async function newHarborRedis(): Promise<HarborRedis> {
  const server = await newRedis();
  const url = `${server.url}/${HARBOR_DB}`;
  const redis = connectHarborRedis(url, silent);
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  await waitForRedis(redis, 5_000, 'HARBOR_REDIS_URL');
  return { url, redis };
}

export const memberOf = (id: number): string => `${id}:REPLICATION`;
export const keyOf = (id: number): string =>
  `cache:execution:id:${id}:vendor:REPLICATION:status_outdate`;

/** Marks executions as Harbor's main does: one SADD each. */
export async function markInSet(redis: Redis, ids: readonly number[]): Promise<void> {
  await inPipelines(redis, ids, (pipeline, id) => {
    pipeline.sadd('execution:status_outdate', memberOf(id));
  });
}

/** Marks executions as Harbor 2.8 to 2.15 do: a key each, if it isn't there. */
export async function markByKeys(redis: Redis, ids: readonly number[]): Promise<void> {
  await inPipelines(redis, ids, (pipeline, id) => {
    pipeline.set(keyOf(id), Buffer.from([0xa0]), 'NX');
  });
}

/** Executions that are marked in either format, in Harbor's own places. */
export async function markedIds(redis: Redis): Promise<number[]> {
  const members = await redis.smembers('execution:status_outdate');
  const keys = await redis.keys('cache:execution:id:*:status_outdate');
  const ids = [...members, ...keys].map((name) => Number(/\d+/.exec(name)?.[0]));
  return [...new Set(ids)].toSorted((a, b) => a - b);
}

/** Runs one command for each item, 10,000 at a time. */
export async function inPipelines<T>(
  redis: Redis,
  items: readonly T[],
  add: (pipeline: ReturnType<Redis['pipeline']>, item: T) => void,
): Promise<void> {
  for (let from = 0; from < items.length; from += 10_000) {
    const pipeline = redis.pipeline();
    for (const item of items.slice(from, from + 10_000)) add(pipeline, item);
    const results = await pipeline.exec();
    for (const [error] of results ?? []) if (error) throw error;
  }
}

export function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n);
}
