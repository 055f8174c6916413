import { countDisagreements } from '../shared/postgres/disagreements.ts';
import type { Database } from '../shared/postgres/database.ts';

/** What is wrong after a run in which every execution was recorded once. */
export interface Verdict {
  /** Executions whose stored status or end time isn't what their tasks say. */
  readonly disagreements: number;
  /** Executions that were never refreshed. */
  readonly lost: number;
  /** Refreshes beyond the first of an execution. */
  readonly doubled: number;
}

/** Looks at all executions of a run; each started with revision 0, and a refresh adds one. */
export async function verify(database: Database): Promise<Verdict> {
  const [counts] = await database.query<{ lost: number; doubled: number }>(
    `SELECT count(*) FILTER (WHERE revision = 0) AS lost,
            coalesce(sum(revision - 1) FILTER (WHERE revision > 1), 0)::bigint AS doubled
       FROM execution`,
  );
  return {
    disagreements: await countDisagreements(database, 'outOfDate'),
    lost: counts?.lost ?? 0,
    doubled: counts?.doubled ?? 0,
  };
}

/**
 * Tells cheaply whether an execution is left that was never refreshed: it remembers the first one, and
 * looks on from there, so that all looks together read the table once.
 */
export class RefreshWatch {
  readonly #database: Database;
  #firstLeft = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  async someLeft(): Promise<boolean> {
    const [row] = await this.#database.query<{ id: number }>(
      'SELECT id FROM execution WHERE id >= $1 AND revision = 0 ORDER BY id LIMIT 1',
      [this.#firstLeft],
    );
    this.#firstLeft = row?.id ?? Number.MAX_SAFE_INTEGER;
    return row !== undefined;
  }
}
