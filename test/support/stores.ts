import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, inject, onTestFinished } from 'vitest';
import { loadConfig, type StoresConfig } from '../../shared/process/config.ts';
import { disableCapture } from '../../shared/postgres/capture.ts';
import { openDatabase, withClient, type Database } from '../../shared/postgres/database.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import { openRefreshQueue, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { migrate } from '../../shared/postgres/migrate.ts';

export const silent = silentLogger();

export interface Stores {
  readonly config: StoresConfig;
  /** The environment of a process that is to use the same stores. */
  readonly environment: Readonly<Record<string, string>> & {
    readonly DATABASE_URL: string;
    readonly REDIS_URL: string;
    readonly QUEUE_PREFIX: string;
  };
  readonly database: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
}

export interface StoresOptions {
  /** More of the environment, for the config and for processes. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Whether changes of tasks are recorded; without it a test records what it wants. */
  readonly capture?: boolean;
  /** Servers other than those that all files share. */
  readonly postgresUrl?: string;
  readonly redisUrl?: string;
}

/** A database and a queue of this file's own, gone when the file has passed. Call it at the top of a file. */
export async function createStores({
  settings = {},
  capture = false,
  postgresUrl = inject('postgresUrl'),
  redisUrl = inject('redisUrl'),
}: StoresOptions = {}): Promise<Stores> {
  const name = `test_${randomBytes(5).toString('hex')}`;
  await administer(postgresUrl, `CREATE DATABASE ${name}`);
  const databaseUrl = Object.assign(new URL(postgresUrl), { pathname: `/${name}` }).href;
  const environment = {
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    QUEUE_PREFIX: name,
    PRODUCER_PORT: '0',
    DASHBOARD_PORT: '0',
    ...settings,
  };
  const config = loadConfig(['DATABASE_URL', 'REDIS_URL'], environment);
  await migrate(databaseUrl, silent);
  if (!capture) await withClient(databaseUrl, 'test', disableCapture);
  const database = openDatabase(databaseUrl, silent, { connections: 5, name: 'test' });
  const redis = connectRedis(config, 'failFast', silent);
  const queue = openRefreshQueue(config, redis);
  afterAll(async () => {
    await database.close();
    // A test that stops its own servers has nothing left to remove.
    await removeKeys(redis, config.QUEUE_PREFIX).catch(() => undefined);
    redis.disconnect();
    await administer(postgresUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`).catch(
      () => undefined,
    );
  });
  return { config, environment, database, redis, queue };
}

/** A client of its own, for tests that hold transactions open; closed, and so rolled back, after the test. */
export async function openClient(databaseUrl: string): Promise<Client> {
  const client = new Client({ connectionString: databaseUrl });
  client.on('error', () => undefined);
  await client.connect();
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

/**
 * An empty database beside another one, made anew; gone with its server.
 * @returns its URL
 */
export async function createEmptyDatabase(beside: string, name: string): Promise<string> {
  await administer(beside, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  await administer(beside, `CREATE DATABASE ${name}`);
  return Object.assign(new URL(beside), { pathname: `/${name}` }).href;
}

async function administer(postgresUrl: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: postgresUrl, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function removeKeys(redis: Redis, prefix: string): Promise<void> {
  if (redis.status !== 'ready') return;
  for await (const keys of redis.scanStream({ match: `${prefix}:*`, count: 1_000 })) {
    if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
  }
}
