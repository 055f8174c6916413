import type { Redis } from 'ioredis';
import {
  countRefresh,
  FINE,
  noActivity,
  recordActivity,
  type Lane,
  type WorkerHeartbeat,
} from '../shared/queue/activity.ts';
import type { Config } from '../shared/process/config.ts';

const BUCKET_MS = FINE.seconds * 1_000;
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * Writes to Redis every ten seconds what this worker did and that it is alive, for the dashboard's
 * overview. Nothing is written while Redis is unavailable; the counts go on and follow later.
 */
export class ActivityHistory {
  readonly #redis: Redis;
  readonly #config: Config;
  readonly #name: string;
  readonly #heartbeat: WorkerHeartbeat;
  #activity = noActivity();
  #timer: NodeJS.Timeout | undefined;
  #telling: Promise<void> | undefined;

  constructor(redis: Redis, config: Config, name: string) {
    this.#redis = redis;
    this.#config = config;
    this.#name = name;
    this.#heartbeat = {
      startedAt: new Date().toISOString(),
      concurrency: config.WORKER_CONCURRENCY,
    };
    redis.on('ready', () => void this.#tell());
    this.#schedule();
  }

  refreshed(lane: Lane, lagMs: number | null): void {
    countRefresh(this.#activity[lane], lagMs);
  }

  failed(): void {
    this.#activity.failed++;
  }

  /** Writes what is left, waiting at most a second, and stops. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const late = AbortSignal.timeout(CLOSE_TIMEOUT_MS);
    await Promise.race([
      this.#tellRest(),
      new Promise<void>((resolve) => {
        late.addEventListener('abort', () => resolve(), { once: true });
      }),
    ]);
  }

  // On multiples of ten seconds, so that each bucket counts what was done in its time.
  #schedule(): void {
    this.#timer = setTimeout(
      () => {
        void this.#tell();
        this.#schedule();
      },
      BUCKET_MS - (Date.now() % BUCKET_MS),
    );
  }

  async #tellRest(): Promise<void> {
    // A report that is under way lacks what was counted since it began.
    await this.#telling;
    await this.#tell();
  }

  async #tell(): Promise<void> {
    // While Redis is unavailable the counts go on, and no commands pile up.
    if (this.#redis.status !== 'ready' || this.#telling !== undefined) return;
    const activity = this.#activity;
    this.#activity = noActivity();
    this.#telling = recordActivity(this.#redis, this.#config, {
      name: this.#name,
      heartbeat: this.#heartbeat,
      activity,
    })
      .catch(() => undefined)
      .then(() => {
        this.#telling = undefined;
      });
    await this.#telling;
  }
}
