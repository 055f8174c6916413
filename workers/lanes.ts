import type { Redis } from 'ioredis';
import type { HealthCheck } from '../shared/http/health.ts';
import { createCommitProbe } from '../shared/postgres/commit-probe.ts';
import { CommitReadiness, postgresProblem } from '../shared/postgres/commit-readiness.ts';
import type { Database, TransactionDatabase } from '../shared/postgres/database.ts';
import type { StoresConfig } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import { probeQueue } from '../shared/queue/queue-probe.ts';
import { settingsOf } from '../shared/queue/redis.ts';
import type { RefreshQueue } from '../shared/queue/refresh-queue.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';
import { createBacklogWorker } from './backlog-worker.ts';
import type { Recorder } from './recorder.ts';
import { createRefreshWorker } from './refresh-worker.ts';
import { watchStores, type StoreWatches } from './store-watches.ts';
import type { WatchedWorker } from './watched-worker.ts';

/** The connections of a worker process. */
export interface WorkerStores {
  readonly database: TransactionDatabase;
  /** One connection, so that neither lane waits for the other. */
  readonly backlogDatabase: Database;
  /** With the `patient` profile; jobs are fetched and completed over it. */
  readonly redis: Redis;
  /** With the `failFast` profile, so that a stop doesn't wait for an unavailable Redis. */
  readonly fastRedis: Redis;
  /** Over `fastRedis`. */
  readonly queue: RefreshQueue;
}

interface Parts extends WorkerStores {
  readonly config: StoresConfig;
  readonly recorder: Recorder;
  readonly log: Logger;
  readonly name: string;
  readonly tracing: Tracing | undefined;
}

/** The workers of both lanes in one process, and what tells whether they can work. */
export class Lanes {
  readonly #parts: Parts;
  readonly #stores: StoreWatches;
  readonly #workers: readonly WatchedWorker[];
  readonly #commits: CommitReadiness;
  #started = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    const { config, database, backlogDatabase, redis, queue, recorder, log, name, tracing } = parts;
    const probe = createCommitProbe(config.DATABASE_URL, 'refreshes');
    this.#commits = new CommitReadiness(probe, log);
    const stores = watchStores(
      { postgres: probe, redis: () => this.probeRedis() },
      settingsOf(redis, config),
      log,
    );
    this.#stores = stores;
    const shared = { config, redis, probe, stores, recorder, log, name };
    this.#workers = [
      createRefreshWorker({
        ...shared,
        database: tracing?.statementsOf(database) ?? database,
        tracing,
      }),
      createBacklogWorker({ ...shared, database: backlogDatabase, queue }),
    ];
  }

  /** Starts taking jobs. */
  start(): void {
    for (const worker of this.#workers) worker.start();
    this.#started = true;
  }

  /** Takes no more jobs and finishes those in hand; returns at once while Redis is unavailable. */
  async close(): Promise<void> {
    this.#stores.postgres.close();
    this.#stores.redis.close();
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  /**
   * Resolves if every worker is connected and Redis takes what the queue needs.
   * @throws as `probeQueue`, or Error if a connection is missing
   */
  async probeRedis(): Promise<void> {
    if (!this.#workers.every(({ connected }) => connected)) throw new Error('not connected');
    const { config, queue, fastRedis } = this.#parts;
    await probeQueue(config, queue, fastRedis);
  }

  /** What a worker process needs to be ready. */
  get checks(): readonly HealthCheck[] {
    const { database } = this.#parts;
    return [
      { name: 'postgres', required: true, check: () => postgresProblem(database, this.#commits) },
      { name: 'redis', required: true, check: () => this.#redisProblem() },
      { name: 'worker', required: true, check: async () => this.#runningProblem() },
    ];
  }

  async #redisProblem(): Promise<undefined> {
    try {
      await this.probeRedis();
    } catch (error) {
      // Until the start, `waitForQueue` logs the problem.
      if (this.#started) this.#stores.redis.reportFound(error);
      throw error;
    }
  }

  #runningProblem(): string | undefined {
    return this.#workers.every(({ running }) => running) ? undefined : 'not taking jobs';
  }
}
