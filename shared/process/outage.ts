import { describeError } from '../errors.ts';
import type { Logger } from './logger.ts';

/**
 * An outage of one thing, logged twice: when it begins, and when it ends with its length. However
 * many jobs or polls run into it in between, the log stays readable.
 */
export class Outage {
  readonly #log: Logger;
  readonly #what: string;
  #since: number | undefined;

  /** @param what the thing that can be away, as it starts the two sentences: "Postgres" */
  constructor(log: Logger, what: string) {
    this.#log = log;
    this.#what = what;
  }

  get ongoing(): boolean {
    return this.#since !== undefined;
  }

  begin(error: unknown): void {
    if (this.#since !== undefined) return;
    this.#since = performance.now();
    this.#log.error(`${this.#what} is away: ${describeError(error)}; work waits until it is back`);
  }

  end(): void {
    if (this.#since === undefined) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#since = undefined;
    this.#log.info(`${this.#what} is back after ${seconds.toFixed(1)} s`);
  }
}
