import { migrate } from '../shared/postgres/migrate.ts';
import { silentLogger } from '../shared/process/logger.ts';
import { withClient, type Database } from '../shared/postgres/database.ts';
import type { Identity } from '../shared/execution.ts';

const PAGE = 5_000;

/** How much data: executions, and tasks for each of them (3.4 gives three or four). */
export interface Size {
  readonly executions: number;
  readonly tasks: number;
}

/**
 * Makes an empty database into the starting point of a run: executions 1 to n of five vendors, all
 * stored as Running with revision 0, and their tasks, all ended. Nothing is recorded in the outbox.
 */
export async function seed(databaseUrl: string, { executions, tasks }: Size): Promise<void> {
  await migrate(databaseUrl, silentLogger());
  await withClient(databaseUrl, 'bench', async (client) => {
    // No foreign key is checked, and no trigger records what is loaded here.
    await client.query(`SET session_replication_role = replica`);
    await client.query(
      `INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision)
       SELECT (ARRAY['REPLICATION', 'GARBAGE_COLLECTION', 'IMAGE_SCAN', 'RETENTION', 'P2P_PREHEAT'])[1 + n % 5],
              n, 'Running', 'BENCH', 0
         FROM generate_series(1, $1::integer) AS n`,
      [executions],
    );
    await client.query(
      `INSERT INTO task (execution_id, status, status_code, vendor_type, job_id, start_time, end_time)
       SELECT e.id, CASE WHEN (e.id * 31 + n * 17) % 43 = 0 THEN 'Error'
                         WHEN (e.id * 13 + n * 29) % 97 = 0 THEN 'Stopped'
                         ELSE 'Success' END,
              3, e.vendor_type, md5(e.id::text || n), timestamp '2026-01-02 03:04:05',
              timestamp '2026-01-02 03:04:05' + n * interval '1 second'
         FROM execution e,
              generate_series(1, floor(e.id * $1::numeric)::integer - floor((e.id - 1) * $1::numeric)::integer) AS n`,
      [tasks],
    );
    await client
      .query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public')
      .catch(() => undefined);
    await client.query('VACUUM (ANALYZE)');
  });
}

/** Cleans a table up, and analyses it; that can't be part of a transaction. */
export async function vacuum(databaseUrl: string, table: string): Promise<void> {
  await withClient(databaseUrl, 'bench', (client) => client.query(`VACUUM (ANALYZE) ${table}`));
}

/** All executions by id, some thousand at a time. */
export async function* identityPages(database: Database): AsyncGenerator<Identity[]> {
  for (let after = 0; ;) {
    const page = await database.query<Identity & Record<string, unknown>>(
      `SELECT id::bigint AS "executionId", vendor_type AS vendor
         FROM execution WHERE id > $1 ORDER BY id LIMIT $2`,
      [after, PAGE],
    );
    const last = page.at(-1);
    if (last === undefined) return;
    yield page;
    after = last.executionId;
  }
}
