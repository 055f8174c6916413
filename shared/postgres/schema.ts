import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { createCaptureTriggers, upgradeCapture } from './capture.ts';
import { withClient, type Database } from './database.ts';
import { describeError, TallyError } from '../errors.ts';
import type { Logger } from '../process/logger.ts';

const MIGRATIONS_FOLDER = fileURLToPath(new URL('migrations', import.meta.url));
/** The advisory lock of whoever changes the schema. */
export const MIGRATE_LOCK = 7_411_001;
const SCHEMA_POLL_MS = 500;

/** The text of a file of `shared/postgres/sql/`, by its name without `.sql`. */
export function readSql(name: string): string {
  return readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8');
}

/**
 * Creates or upgrades schema `tally`, and the host's two tables, with capture, when the database has
 * neither. Safe to run at the same time by many (the others wait), and without effect when run again.
 * @returns the names of the migrations that ran
 * @throws TallyError HALF_A_HOST when only one of `execution` and `task` exists
 */
export function migrate(databaseUrl: string, log: Logger): Promise<string[]> {
  return withClient(databaseUrl, 'migrate', async (client) => {
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATE_LOCK]);
    const hostIsMissing = await findHost(client);
    // Loaded here, since every process reads this file and only this one needs it.
    const { runner } = await import('node-pg-migrate');
    const applied = await runner({
      dbClient: client,
      dir: MIGRATIONS_FOLDER,
      direction: 'up',
      migrationsSchema: 'tally',
      migrationsTable: 'migration',
      createMigrationsSchema: true,
      // Ours is held already, and makes a second one wait where theirs would make it fail.
      noLock: true,
      logger: {
        debug: () => undefined,
        info: () => undefined,
        warn: warnOf(log),
        error: warnOf(log),
      },
    });
    await inTransaction(client, async () => {
      if (hostIsMissing) await createHostTables(client);
      await client.query(rollupFunction());
      await client.query(readSql('refresh_executions'));
      await client.query(readSql('capture'));
      await client.query(readSql('rights'));
      // Nobody else's tables, so nobody has to be asked.
      if (hostIsMissing) await createCaptureTriggers(client);
    });
    if (hostIsMissing) log.info('created the tables execution and task, with capture');
    else await addNewTriggers(client, log);
    return applied.map(({ name }) => name);
  });
}

/** Gives a capture that an older version has enabled what this one adds; without it changes are captured as before. */
async function addNewTriggers(client: pg.Client, log: Logger): Promise<void> {
  try {
    await upgradeCapture(client);
  } catch (error) {
    log.warn(
      `capture lacks a trigger of this version; run: tally capture enable, as the owner of execution and task (${describeError(error)})`,
    );
  }
}

function warnOf(log: Logger): (message: string) => void {
  return (message) => log.warn(message);
}

/** `tally.rollup(ids)`: the rule of rollup.sql as a function, so that it is written once. */
function rollupFunction(): string {
  return `
    CREATE OR REPLACE FUNCTION tally.rollup(bigint[])
    RETURNS TABLE (execution_id bigint, status text, end_time timestamp)
    LANGUAGE sql STABLE AS $function$ ${readSql('rollup')} $function$;
    REVOKE EXECUTE ON FUNCTION tally.rollup(bigint[]) FROM PUBLIC;`;
}

/** @returns true when the database has neither of the host's tables */
async function findHost(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ execution: boolean; task: boolean }>(
    `SELECT to_regclass('execution') IS NOT NULL AS execution, to_regclass('task') IS NOT NULL AS task`,
  );
  const { execution, task } = rows[0] ?? { execution: false, task: false };
  if (execution !== task) {
    throw new TallyError(
      'HALF_A_HOST',
      `the database has a table ${execution ? 'execution' : 'task'} but no ${execution ? 'task' : 'execution'}; ` +
        'point DATABASE_URL at the database (and the role at the schema) that has both, or at an empty one',
    );
  }
  return !execution;
}

async function createHostTables(client: pg.Client): Promise<void> {
  // A role named tally comes to schema tally first; what lies there goes when Tally goes.
  await client.query(
    `SELECT set_config('search_path', 'public', true) WHERE current_schema() = 'tally'`,
  );
  await client.query(readSql('host-tables'));
}

async function inTransaction(client: pg.Client, work: () => Promise<unknown>): Promise<void> {
  await client.query('BEGIN');
  try {
    await work();
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/**
 * Whether schema `tally` is the one that this program was built for.
 * @returns undefined when it is, otherwise a sentence that says what to do
 * @throws the error of `pg` when the database can't be asked
 */
export async function schemaProblem(database: Database): Promise<string | undefined> {
  const [installed] = await database.query<{ present: boolean }>(
    `SELECT to_regclass('tally.migration') IS NOT NULL AS present`,
  );
  if (installed?.present !== true) return 'schema tally is not installed; run: tally migrate';
  const rows = await database.query<{ name: string }>(
    'SELECT name FROM tally.migration ORDER BY id',
  );
  const applied = new Set(rows.map(({ name }) => name));
  const known = readdirSync(MIGRATIONS_FOLDER).map((file) => file.replace(/\.sql$/, ''));
  if (known.some((name) => !applied.has(name))) {
    return 'schema tally is older than this program; run: tally migrate';
  }
  return undefined;
}

/**
 * Waits until the schema is there, for processes that don't migrate by themselves; says once what is
 * missing. Resolves early when the process is stopping.
 */
export async function waitForSchema(
  database: Database,
  lifecycle: { readonly stopping: boolean },
  log: Logger,
): Promise<void> {
  let said = '';
  while (!lifecycle.stopping) {
    const problem = await schemaProblem(database).catch(
      (error: unknown) => `waiting for Postgres: ${describeError(error)}`,
    );
    if (problem === undefined) return;
    if (problem !== said) log.warn(problem);
    said = problem;
    await delay(SCHEMA_POLL_MS);
  }
}
