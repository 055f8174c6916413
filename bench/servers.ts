import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Binaries } from '../cli/embedded/postgres-binaries.ts';
import type { EmbeddedServer } from '../cli/embedded/server.ts';
import { startEmbeddedPostgres } from '../cli/embedded/postgres.ts';
import { startEmbeddedRedis } from '../cli/embedded/redis.ts';
import { openDatabase, withClient, type Database } from '../shared/postgres/database.ts';
import { silentLogger } from '../shared/process/logger.ts';
import { seed, type Size } from './data.ts';

const HOUR_MS = 3_600_000;
const silent = silentLogger();

/** A place to run in: a database with fresh data and an empty Redis. */
export interface Arena extends Size {
  /** For the processes that are measured. */
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** The bench's own connections; what they ask isn't counted as a contender's statements. */
  readonly database: Database;
  readonly redis: Redis;
  /** The same as a URL, for a transaction that is held open. */
  readonly observerUrl: string;
}

/** The bench's own Postgres and Redis, set up as `npm start` sets up its own. */
export class Servers {
  readonly #folder: string;
  readonly #postgres: EmbeddedServer;
  readonly #redis: EmbeddedServer;
  readonly #password: string;
  #others: EmbeddedServer[] = [];
  #runs = 0;

  /** @param binaries of another Postgres than the one that the project brings */
  static async start(commitTimes = false, binaries?: Binaries): Promise<Servers> {
    const folder = mkdtempSync(join(tmpdir(), 'tally-bench-'));
    // Postgres drops to another user when root starts it.
    chmodSync(folder, 0o755);
    const redis = await startEmbeddedRedis({
      dataDirectory: join(folder, 'redis'),
      say: () => undefined,
    });
    try {
      let postgres = await startPostgres(folder, binaries);
      if (commitTimes) {
        await withClient(postgres.url, 'bench', (client) =>
          client.query('ALTER SYSTEM SET track_commit_timestamp = on'),
        );
        await postgres.stop();
        postgres = await startPostgres(folder, binaries);
      }
      const password = randomBytes(12).toString('hex');
      await withClient(postgres.url, 'bench', (client) =>
        client.query(`CREATE ROLE bench SUPERUSER LOGIN PASSWORD '${password}'`),
      );
      return new Servers(folder, postgres, redis, password);
    } catch (error) {
      await redis.stop();
      throw error;
    }
  }

  private constructor(
    folder: string,
    postgres: EmbeddedServer,
    redis: EmbeddedServer,
    password: string,
  ) {
    this.#folder = folder;
    this.#postgres = postgres;
    this.#redis = redis;
    this.#password = password;
  }

  /** Calls `use` with fresh data and an empty Redis; both are gone afterwards. */
  async withArena<T>(size: Size, use: (arena: Arena) => Promise<T>): Promise<T> {
    const template = await this.#template(size);
    const name = `run_${++this.#runs}`;
    const [server] = await this.#administer(
      `SELECT current_setting('server_version_num')::int AS version`,
    );
    // Before 15 there is no other way, and no word for it.
    const strategy = Number(server?.['version']) >= 150_000 ? 'STRATEGY FILE_COPY' : '';
    await this.#administer(`CREATE DATABASE ${name} TEMPLATE ${template} ${strategy}`);
    const observerUrl = this.#url(name, true);
    const database = openDatabase(observerUrl, silent, {
      connections: 3,
      name: 'bench',
      statementTimeoutMs: HOUR_MS,
    });
    const redis = new Redis(this.#redis.url);
    try {
      await redis.flushall('SYNC');
      return await use({
        ...size,
        databaseUrl: this.#url(name, false),
        observerUrl,
        redisUrl: this.#redis.url,
        database,
        redis,
      });
    } finally {
      redis.disconnect();
      await database.close();
      await this.#administer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    }
  }

  async versions(): Promise<{ redis: string; postgres: string }> {
    const redis = new Redis(this.#redis.url);
    const info = await redis.info('server');
    redis.disconnect();
    const [row] = await this.#administer('SHOW server_version');
    return {
      redis: /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown',
      postgres: String(Object.values(row ?? {})[0]),
    };
  }

  /** One more Redis, beside the one that the queue is in. */
  async anotherRedis(): Promise<string> {
    const dataDirectory = join(this.#folder, `redis-${this.#others.length + 2}`);
    const server = await startEmbeddedRedis({ dataDirectory, say: () => undefined });
    this.#others.push(server);
    return server.url;
  }

  /** Frees the room that the data of one size takes, when it isn't needed any more. */
  async forget(size: Size): Promise<void> {
    await this.#administer(`DROP DATABASE IF EXISTS ${templateName(size)} WITH (FORCE)`);
  }

  async stop(): Promise<void> {
    const all = [this.#postgres, this.#redis, ...this.#others];
    await Promise.allSettled(all.map((server) => server.stop()));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Loaded once for each size; a run gets a copy of its files. */
  async #template(size: Size): Promise<string> {
    const name = templateName(size);
    const [found] = await this.#administer(`SELECT FROM pg_database WHERE datname = '${name}'`);
    if (found === undefined) {
      await this.#administer(`CREATE DATABASE ${name}`);
      await seed(this.#url(name, false), size);
    }
    return name;
  }

  #administer(sql: string): Promise<Record<string, unknown>[]> {
    const url = this.#url('postgres', true);
    return withClient(
      url,
      'bench',
      async (client) => (await client.query<Record<string, unknown>>(sql)).rows,
    );
  }

  #url(database: string, observer: boolean): string {
    const url = new URL(this.#postgres.url);
    url.pathname = `/${database}`;
    if (observer) Object.assign(url, { username: 'bench', password: this.#password });
    return url.href;
  }
}

function startPostgres(folder: string, binaries?: Binaries): Promise<EmbeddedServer> {
  return startEmbeddedPostgres({
    ...(binaries === undefined ? {} : { binaries }),
    dataDirectory: join(folder, 'postgres'),
    projectDirectory: process.cwd(),
    say: () => undefined,
  });
}

function templateName({ executions, tasks }: Size): string {
  return `seed_${executions}_${String(tasks).replace('.', '_')}`;
}
