import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { TransactionDatabase } from './database.ts';
import { hostProblem } from './host.ts';
import { explainDatabaseError } from './advice.ts';
import type { Logger } from '../process/logger.ts';
import { runLoop } from '../process/loop.ts';

/** Path of the folder with the migrations. */
export const migrationsFolder = fileURLToPath(new URL('migrations', import.meta.url));
const SCHEMA_POLL_MS = 500;

/** The text of a file in `shared/postgres/sql/`, by its name without `.sql`. */
export function readSql(name: string): string {
  return readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8');
}

/** The names of all migrations in the order in which they run. */
export function migrationNames(): string[] {
  return readdirSync(migrationsFolder)
    .map((file) => file.replace(/\.sql$/, ''))
    .toSorted();
}

/**
 * What is wrong with schema `tally` or the host's tables, for this program.
 * @returns undefined if nothing is, else a sentence that says what to do
 * @throws an error from `pg`
 */
export async function schemaProblem(database: TransactionDatabase): Promise<string | undefined> {
  const problem = await findProblem(database);
  // Connections keep the search_path they started with.
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
 * Waits until the schema is installed, for processes that don't migrate themselves; logs once what
 * is missing. Resolves early when the signal aborts, and never rejects.
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
