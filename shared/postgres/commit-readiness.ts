import type { Logger } from '../process/logger.ts';
import { explainDatabaseError } from './advice.ts';
import type { TransactionDatabase } from './database.ts';
import { schemaProblem } from './schema.ts';

// However often a process is asked whether it is ready, Postgres is asked for a commit once in this time.
const REUSE_MS = 1_000;

/** Whether Postgres finishes commits now, for `/readyz`. Logs when that ends and when it begins again. */
export class CommitReadiness {
  readonly #probe: () => Promise<void>;
  readonly #log: Logger;
  #asked: { readonly answer: Promise<void>; endedMs: number } | undefined;
  #failingSinceMs: number | undefined;

  constructor(probe: () => Promise<void>, log: Logger) {
    this.#probe = probe;
    this.#log = log;
  }

  /**
   * As the last probe had it, if that is less than a second old; whoever asks during a probe shares its answer.
   * @throws the error of the probe
   */
  check(): Promise<void> {
    if (this.#asked !== undefined && performance.now() - this.#asked.endedMs < REUSE_MS) {
      return this.#asked.answer;
    }
    const asked = { answer: this.#ask(), endedMs: Infinity };
    const end = (): void => void (asked.endedMs = performance.now());
    asked.answer.then(end, end);
    this.#asked = asked;
    return asked.answer;
  }

  async #ask(): Promise<void> {
    try {
      await this.#probe();
    } catch (error) {
      if (this.#failingSinceMs === undefined) {
        this.#failingSinceMs = performance.now();
        this.#log.error(
          `not ready: Postgres can't finish a commit: ${explainDatabaseError(error)}`,
        );
      }
      throw error;
    }
    if (this.#failingSinceMs === undefined) return;
    const seconds = (performance.now() - this.#failingSinceMs) / 1_000;
    this.#failingSinceMs = undefined;
    this.#log.info(`ready: Postgres finishes commits again after ${seconds.toFixed(1)} s`);
  }
}

/**
 * What keeps a process from working in Postgres: the check named `postgres` of `/readyz`.
 * @returns undefined when nothing does, otherwise a sentence that says what to do about the schema
 * @throws when Postgres can't be asked or doesn't finish a commit
 */
export async function postgresProblem(
  database: TransactionDatabase,
  commits: CommitReadiness,
): Promise<string | undefined> {
  const problem = await schemaProblem(database);
  if (problem === undefined) await commits.check();
  return problem;
}
