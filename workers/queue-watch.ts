import { TallyError } from '../shared/errors.ts';
import { findCause } from '../shared/queue/queue-probe.ts';
import { explainRedisError, isRefusal, type RedisSettings } from '../shared/queue/redis-errors.ts';
import type { Logger } from '../shared/process/logger.ts';
import { StoreWatch } from './store-watch.ts';
import type { Probe } from './attempt.ts';

/**
 * Stops a worker from taking jobs while Redis answers with errors (a missing right, a replica, no
 * memory), because BullMQ would ask again at once, without end. The worker goes on when a probe of
 * the queue succeeds.
 */
export class QueueWatch {
  readonly #probe: Probe;
  readonly #settings: RedisSettings;
  readonly #onUnavailable: () => void;
  readonly #watch: StoreWatch;
  #asking = false;

  constructor(
    log: Logger,
    options: {
      probe: Probe;
      settings: RedisSettings;
      onUnavailable: () => void;
      onAvailable: () => void;
    },
  ) {
    this.#probe = options.probe;
    this.#settings = options.settings;
    this.#onUnavailable = options.onUnavailable;
    this.#watch = new StoreWatch(log, { ...options, store: 'the queue in Redis' });
  }

  get unavailable(): boolean {
    return this.#asking || this.#watch.unavailable;
  }

  /**
   * Reports an error that BullMQ met.
   * @returns whether Redis answered with it; the worker is then already paused
   */
  reportError(error: Error): boolean {
    if (!isRefusal(error)) return false;
    // Before anything asynchronous: BullMQ's next call follows in this turn of the event loop.
    this.#onUnavailable();
    if (this.#watch.unavailable) this.#watch.reportUnavailable(error);
    else if (!this.#asking) void this.#begin(error);
    return true;
  }

  /**
   * Reports what a probe found, so that a worker without jobs, too, logs what it waits for. Lost
   * connections are ignored; the connection logs those.
   */
  reportFound(problem: unknown): void {
    if (problem instanceof TallyError && !this.#asking) this.#watch.reportUnavailable(problem);
  }

  /** Reports that a job was completed. */
  reportServed(): void {
    this.#watch.reportServed();
  }

  close(): void {
    this.#watch.close();
  }

  async #begin(thrown: Error): Promise<void> {
    this.#asking = true;
    const cause = await findCause(thrown, this.#probe);
    this.#asking = false;
    this.#watch.reportUnavailable(new Error(explainRedisError(cause, this.#settings)));
  }
}
