import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseError } from 'pg';
import type pg from 'pg';
import { describeError, TallyError } from '../errors.ts';
import type { Logger } from '../process/logger.ts';
import { createCaptureTriggers, upgradeCapture } from './capture.ts';
import { queryOf, withClient, type Query } from './database.ts';
import { hostElsewhere, refuseOldServer } from './host.ts';
import { beginPinned } from './pinned.ts';
import { migrationNames, migrationsFolder, readSql } from './schema.ts';

const MIGRATE_LOCK = 7_411_001;
const LOCK_POLL_MS = 200;

/**
 * Creates or upgrades schema `tally` and, if the database has neither of the host's two tables,
 * creates them with capture: all of it or nothing. Safe to run concurrently (the others wait) and
 * repeatedly. It is one transaction, so a pooler may sit in between.
 * @returns the names of the migrations that ran
 * @throws TallyError HALF_A_HOST if only one of `execution` and `task` exists
 * @throws TallyError HOST_ELSEWHERE if they are in a schema that the role doesn't search
 * @throws TallyError NO_RIGHT, POSTGRES_TOO_OLD, READ_ONLY
 */
export function migrate(databaseUrl: string, log: Logger): Promise<string[]> {
  return withClient(databaseUrl, 'migrate', async (client) => {
    const query = queryOf(client);
    await refuseOldServer(query);
    // Without a timeout: with a large backlog, a new index may take minutes.
    await client.query(beginPinned(0));
    try {
      await takeMigrateLock(client, () => {
        log.info('another tally migrate is running on this database; waiting for it');
      });
      const hostIsMissing = await findHost(client);
      await refuseMissingRights(query, hostIsMissing);
      const applied = await applyMigrations(client);
      if (hostIsMissing) await createHostTables(client);
      await client.query(rollupFunction());
      for (const name of ['refresh_executions', 'refresh_backlog', 'capture', 'lease', 'rights']) {
        await client.query(readSql(name));
      }
      // The tables are Tally's own, so there is nobody to ask.
      if (hostIsMissing) await createCaptureTriggers(client);
      await client.query('COMMIT');
      if (hostIsMissing) log.info('created the tables execution and task, with capture');
      else await addNewTriggers(client, log);
      return applied;
    } catch (error) {
      // On a lost connection this fails as well; the first error says more.
      await client.query('ROLLBACK').catch(() => undefined);
      throw describeRefusal(error);
    }
  });
}

/**
 * Adds this version's new triggers to a capture that an older version enabled. Without them,
 * changes are still captured as before.
 */
async function addNewTriggers(client: pg.Client, log: Logger): Promise<void> {
  try {
    await upgradeCapture(client);
  } catch (error) {
    log.warn(
      `capture lacks a trigger of this version; run: tally capture enable, as the owner of execution and task (${describeError(error)})`,
    );
  }
}

/**
 * Keeps everyone else from changing schema `tally` until the transaction ends.
 * @param onWait called once if somebody else is changing it now
 * @throws an error from `pg`
 */
export async function takeMigrateLock(client: pg.Client, onWait: () => void): Promise<void> {
  for (let waits = false; ; waits = true) {
    const { rows } = await client.query<{ taken: boolean }>(
      'SELECT pg_try_advisory_xact_lock($1) AS taken',
      [MIGRATE_LOCK],
    );
    if (rows[0]?.taken === true) return;
    if (!waits) onWait();
    await delay(LOCK_POLL_MS);
  }
}

/** Runs the migrations that `tally.migration` lacks, in the order of their names. */
async function applyMigrations(client: pg.Client): Promise<string[]> {
  await client.query(`
    CREATE SCHEMA IF NOT EXISTS tally;
    CREATE TABLE IF NOT EXISTS tally.migration (
        id     serial PRIMARY KEY,
        name   varchar(255) NOT NULL,
        run_on timestamp NOT NULL
    )`);
  const { rows } = await client.query<{ name: string }>('SELECT name FROM tally.migration');
  const applied = new Set(rows.map(({ name }) => name));
  const missing = migrationNames().filter((name) => !applied.has(name));
  for (const name of missing) {
    await client.query(readFileSync(`${migrationsFolder}/${name}.sql`, 'utf8'));
    await client.query('INSERT INTO tally.migration (name, run_on) VALUES ($1, now())', [name]);
  }
  return missing;
}

/** `tally.rollup(ids)`: rollup.sql as a function, so that the rule exists once. */
function rollupFunction(): string {
  return `
    CREATE OR REPLACE FUNCTION tally.rollup(bigint[])
    RETURNS TABLE (execution_id bigint, status text, end_time timestamp)
    LANGUAGE sql STABLE AS $function$ ${readSql('rollup')} $function$;
    REVOKE EXECUTE ON FUNCTION tally.rollup(bigint[]) FROM PUBLIC;`;
}

/** @returns true if the database has neither of the host's tables */
async function findHost(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ execution: boolean; task: boolean }>(
    `SELECT to_regclass('execution') IS NOT NULL AS execution, to_regclass('task') IS NOT NULL AS task`,
  );
  const { execution, task } = rows[0] ?? { execution: false, task: false };
  if (execution && task) return false;
  const elsewhere = await hostElsewhere(queryOf(client));
  if (elsewhere !== undefined) throw new TallyError('HOST_ELSEWHERE', elsewhere);
  if (execution !== task) {
    throw new TallyError(
      'HALF_A_HOST',
      `the database has a table ${execution ? 'execution' : 'task'} but no ${execution ? 'task' : 'execution'}; ` +
        'point DATABASE_URL at the database (and the role at the schema) that has both, or at an empty one',
    );
  }
  return true;
}

/**
 * Checks the rights that are missing most often.
 * @throws TallyError NO_RIGHT with the statement that grants them
 */
async function refuseMissingRights(query: Query, hostIsMissing: boolean): Promise<void> {
  const [rights] = await query<{
    role: string;
    database: string;
    schema: string | null;
    installed: boolean;
    onDatabase: boolean;
    onSchema: boolean | null;
  }>(
    `SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
            quote_ident(here.name) AS schema, to_regnamespace('tally') IS NOT NULL AS installed,
            has_database_privilege(current_database(), 'CREATE') AS "onDatabase",
            has_schema_privilege(here.name, 'CREATE') AS "onSchema"
       FROM (SELECT CASE current_schema() WHEN 'tally' THEN 'public' ELSE current_schema() END AS name) AS here`,
  );
  if (rights === undefined) return;
  const { role, database, schema } = rights;
  if (!rights.installed && !rights.onDatabase) throw noRight(role, `DATABASE ${database}`);
  if (hostIsMissing && rights.onSchema !== true)
    throw noRight(role, `SCHEMA ${schema ?? 'public'}`);
}

function noRight(role: string, object: string): TallyError {
  return new TallyError(
    'NO_RIGHT',
    `role ${role} lacks the right CREATE on ${object}; nothing was changed. As its owner or a superuser, run: GRANT CREATE ON ${object} TO ${role}`,
  );
}

function describeRefusal(error: unknown): unknown {
  if (!(error instanceof DatabaseError)) return error;
  if (error.code === '25006') {
    return new TallyError(
      'READ_ONLY',
      `${error.message}; nothing was changed. Point DATABASE_URL at the primary, or set default_transaction_read_only to off for this role and database`,
      { cause: error },
    );
  }
  if (error.code !== '42501') return error;
  return new TallyError(
    'NO_RIGHT',
    `${error.message}; nothing was changed. Run tally migrate as the role that ran it first, or as the owner of what is named`,
    { cause: error },
  );
}

async function createHostTables(client: pg.Client): Promise<void> {
  // For a role named tally, schema tally comes first on the default search_path, and tables in it
  // would be removed with Tally.
  await client.query(
    `SELECT set_config('search_path', 'public', true) WHERE current_schema() = 'tally'`,
  );
  await client.query(readSql('host-tables'));
}
