import { describeError } from '../errors.ts';
import type { Logger } from './logger.ts';

// A cause that is new is told when the last line is this old: a server that comes back may refuse the password.
const NEW_CAUSE_AFTER_MS = 5_000;
const MAX_CAUSES = 10;

/**
 * An outage of one thing, logged when it begins, and when it ends with its length. However
 * many jobs or polls run into it in between, the log stays readable: only another cause is told, too.
 */
export class Outage {
  readonly #log: Logger;
  readonly #what: string;
  readonly #explain: (error: unknown) => string;
  readonly #causes = new Set<string>();
  #since: number | undefined;
  #saidMs = 0;

  /**
   * @param what the thing that can be away, as it starts the two sentences: "Postgres"
   * @param explain the cause in one line, with what to do about it where that is known
   */
  constructor(log: Logger, what: string, explain = describeError) {
    this.#log = log;
    this.#what = what;
    this.#explain = explain;
  }

  get ongoing(): boolean {
    return this.#since !== undefined;
  }

  begin(error: unknown): void {
    const cause = this.#explain(error);
    const nowMs = performance.now();
    const begins = this.#since === undefined;
    if (!begins && (nowMs - this.#saidMs < NEW_CAUSE_AFTER_MS || this.#isKnown(cause))) return;
    this.#since ??= nowMs;
    this.#saidMs = nowMs;
    this.#causes.add(cause);
    this.#log.error(
      `${this.#what} is ${begins ? '' : 'still '}away: ${cause}; work waits until it is back`,
    );
  }

  #isKnown(cause: string): boolean {
    return this.#causes.has(cause) || this.#causes.size >= MAX_CAUSES;
  }

  end(): void {
    if (this.#since === undefined) return;
    const seconds = (performance.now() - this.#since) / 1000;
    this.#since = undefined;
    this.#causes.clear();
    this.#log.info(`${this.#what} is back after ${seconds.toFixed(1)} s`);
  }
}
