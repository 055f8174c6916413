import { describeError } from '../errors.ts';
import type { Logger } from './logger.ts';

// A new cause is logged if the last line is at least this old: a server that comes back may reject
// the password.
const NEW_CAUSE_AFTER_MS = 5_000;
const MAX_CAUSES = 10;

/**
 * An outage of one store or service. It is logged when it begins and when it ends, with its length.
 * However many jobs or polls run into it meanwhile, only a new cause is logged as well.
 */
export class Outage {
  readonly #log: Logger;
  readonly #what: string;
  readonly #explain: (error: unknown) => string;
  readonly #causes = new Set<string>();
  #since: number | undefined;
  #saidMs = 0;

  /**
   * @param what the subject of the log lines, for example "Postgres"
   * @param explain describes an error in one line, with what to do if that is known
   */
  constructor(log: Logger, what: string, explain = describeError) {
    this.#log = log;
    this.#what = what;
    this.#explain = explain;
  }

  get ongoing(): boolean {
    return this.#since !== undefined;
  }

  /** Logs that the outage begins, or a new cause while it lasts. */
  begin(error: unknown): void {
    const cause = this.#explain(error);
    const nowMs = performance.now();
    const begins = this.#since === undefined;
    if (!begins && (nowMs - this.#saidMs < NEW_CAUSE_AFTER_MS || this.#isKnown(cause))) return;
    this.#since ??= nowMs;
    this.#saidMs = nowMs;
    this.#causes.add(cause);
    this.#log.error(
      `${this.#what} is ${begins ? '' : 'still '}unavailable: ${cause}; work waits until it is back`,
    );
  }

  #isKnown(cause: string): boolean {
    return this.#causes.has(cause) || this.#causes.size >= MAX_CAUSES;
  }

  /** Logs that the outage is over, if there is one. */
  end(): void {
    if (this.#since === undefined) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#since = undefined;
    this.#causes.clear();
    this.#log.info(`${this.#what} is back after ${seconds.toFixed(1)} s`);
  }
}
