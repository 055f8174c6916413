import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../../shared/errors.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { readDisagreements } from '../../shared/postgres/disagreements.ts';
import type { Logger } from '../../shared/process/logger.ts';

// Executions per statement, which takes a few milliseconds.
const PAGE = 2_000;
// More would take minutes at this pace; the figure then says "at least".
const EXECUTIONS_MAX = 5_000_000;
const COUNT_EVERY_MS = 60_000;

/** How many executions disagreed with their tasks when they were last counted. */
export interface DisagreementCount {
  readonly count: number;
  /** When the count ended, in milliseconds since 1970. */
  readonly countedMs: number;
  /** False if there were more executions than are examined. */
  readonly isComplete: boolean;
}

/**
 * Counts disagreements in the background: at most one count at a time, however many people look at
 * the overview, none while nobody does, and at least as long a pause as each page took.
 */
export class DisagreementCounter {
  readonly #database: Database;
  readonly #log: Logger;
  #last: DisagreementCount | null = null;
  #nextMs = 0;

  constructor(database: Database, log: Logger) {
    this.#database = database;
    this.#log = log;
  }

  /** The last count, null before the first has ended. Begins another if it is a minute old. */
  read(): DisagreementCount | null {
    if (performance.now() >= this.#nextMs) {
      this.#nextMs = Number.POSITIVE_INFINITY;
      void this.#count();
    }
    return this.#last;
  }

  async #count(): Promise<void> {
    try {
      let count = 0;
      let examined = 0;
      let after: number | undefined = 0;
      while (after !== undefined && examined < EXECUTIONS_MAX) {
        const beginMs = performance.now();
        const page = await readDisagreements(this.#database, after, PAGE);
        count += page.disagreements.length;
        examined += PAGE;
        after = page.last;
        await sleep(performance.now() - beginMs, undefined, { ref: false });
      }
      this.#last = { count, countedMs: Date.now(), isComplete: after === undefined };
    } catch (error) {
      this.#log.warn(`the disagreements were not counted: ${describeError(error)}`);
    } finally {
      this.#nextMs = performance.now() + COUNT_EVERY_MS;
    }
  }
}
