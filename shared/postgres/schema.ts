import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { TransactionDatabase } from './database.ts';
import { hostProblem } from './host.ts';
import { explainDatabaseError } from './advice.ts';
import type { Logger } from '../process/logger.ts';
import { runLoop } from '../process/loop.ts';

export const migrationsFolder = fileURLToPath(new URL('migrations', import.meta.url));
const SCHEMA_POLL_MS = 500;

/** The text of a file of `shared/postgres/sql/`, by its name without `.sql`. */
export function readSql(name: string): string {
  return readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8');
}

/** The names of all migrations, in the order in which they run. */
export function migrationNames(): string[] {
  return readdirSync(migrationsFolder)
    .map((file) => file.replace(/\.sql$/, ''))
    .toSorted();
}

/**
 * Whether schema `tally` is the one that this program was built for, and the host's tables are all there to be seen.
 * @returns undefined when it is so, otherwise a sentence that says what to do
 * @throws the error of `pg` when the database can't be asked
 */
export async function schemaProblem(database: TransactionDatabase): Promise<string | undefined> {
  const problem = await findProblem(database);
  // A search_path that was wrong stays with the connections that began with it.
  if (problem !== undefined) database.renew();
  return problem;
}

async function findProblem(database: TransactionDatabase): Promise<string | undefined> {
  const [installed] = await database.query<{ present: boolean }>(
    `SELECT to_regclass('tally.migration') IS NOT NULL AS present`,
  );
  if (installed?.present !== true) return 'schema tally is not installed; run: tally migrate';
  const rows = await database.query<{ name: string }>(
    'SELECT name FROM tally.migration ORDER BY id',
  );
  const applied = new Set(rows.map(({ name }) => name));
  if (migrationNames().some((name) => !applied.has(name))) {
    return 'schema tally is older than this program; run: tally migrate';
  }
  return hostProblem((sql, values) => database.query(sql, values));
}

/**
 * Waits until the schema is there, for processes that don't migrate by themselves; says once what is
 * missing. Resolves early when the signal aborts.
 */
export async function waitForSchema(
  database: TransactionDatabase,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  let said = '';
  await runLoop({
    signal,
    step: async () => {
      const problem = await schemaProblem(database).catch(
        (error: unknown) => `waiting for Postgres: ${explainDatabaseError(error)}`,
      );
      if (problem === undefined) return undefined;
      if (problem !== said) log.warn(problem);
      said = problem;
      return SCHEMA_POLL_MS;
    },
  });
}
