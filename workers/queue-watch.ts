import { TallyError } from '../shared/errors.ts';
import { findCause } from '../shared/queue/queue-probe.ts';
import { explainRedisError, isRefusal, type RedisSettings } from '../shared/queue/redis-errors.ts';
import type { Logger } from '../shared/process/logger.ts';
import { StoreWatch } from './store-watch.ts';
import type { Probe } from './attempt.ts';

/**
 * Stops a worker from taking jobs when Redis answers with an error (a right that is missing, a replica, no memory),
 * since BullMQ would ask again at once, without end. The worker goes on when a probe of the queue succeeds.
 */
export class QueueWatch {
  readonly #probe: Probe;
  readonly #settings: RedisSettings;
  readonly #onAway: () => void;
  readonly #watch: StoreWatch;
  #asking = false;

  constructor(
    log: Logger,
    options: { probe: Probe; settings: RedisSettings; onAway: () => void; onBack: () => void },
  ) {
    this.#probe = options.probe;
    this.#settings = options.settings;
    this.#onAway = options.onAway;
    this.#watch = new StoreWatch(log, { ...options, store: 'the queue in Redis' });
  }

  get away(): boolean {
    return this.#asking || this.#watch.away;
  }

  /**
   * Tells of an error that BullMQ met.
   * @returns whether it was an answer of Redis; then the worker is paused already
   */
  reportError(error: Error): boolean {
    if (!isRefusal(error)) return false;
    // At once: the next call would follow in this turn of the event loop.
    this.#onAway();
    if (this.#watch.away) this.#watch.reportAway(error);
    else if (!this.#asking) void this.#begin(error);
    return true;
  }

  /**
   * Tells what a probe has found, so that a worker without jobs says what it waits for, too.
   * A lost connection is logged where it is made.
   */
  reportFound(problem: unknown): void {
    if (problem instanceof TallyError && !this.#asking) this.#watch.reportAway(problem);
  }

  /** Tells that a job was completed. */
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
    this.#watch.reportAway(new Error(explainRedisError(cause, this.#settings)));
  }
}
