import type { Logger } from '../process/logger.ts';
import { explainDatabaseError } from './advice.ts';
import type { TransactionDatabase } from './database.ts';
import { schemaProblem } from './schema.ts';

// Postgres is asked for at most one commit in this time, however often `/readyz` is called.
const REUSE_MS = 1_000;

/**
 * Whether Postgres finishes commits, for `/readyz`. Logs when that stops and when it starts again.
 */
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
   * Resolves or rejects as the last probe did, if that is less than a second old. Calls during a
   * probe share its answer.
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
 * What keeps Postgres from doing this process's work: the check `postgres` of `/readyz`.
 * @returns undefined if nothing does, else a sentence that says what to do about the schema
 * @throws an error if Postgres doesn't answer or can't finish a commit
 */
export async function postgresProblem(
  database: TransactionDatabase,
  commits: CommitReadiness,
): Promise<string | undefined> {
  const problem = await schemaProblem(database);
  if (problem === undefined) await commits.check();
  return problem;
}
