import { beforeEach, describe, expect, it } from 'vitest';
import { enableCapture, readCaptureState } from '../../../shared/postgres/capture.ts';
import { withClient } from '../../../shared/postgres/database.ts';
import { readDisagreements, recordDisagreements } from '../../../shared/postgres/disagreements.ts';
import { refreshExecutions } from '../../../workers/refresh-executions.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
} from '../../support/executions.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { config, database } = await createStores({ capture: true });
const databaseUrl = config.DATABASE_URL;

/** What was recorded since the last call, as "42:REPLICATION", in order. */
async function recorded(): Promise<string[]> {
  const rows = await database.query<{ identity: string }>(
    `WITH taken AS (DELETE FROM tally.outbox WHERE source = 'capture' RETURNING execution_id, vendor)
     SELECT execution_id || ':' || vendor AS identity FROM taken ORDER BY execution_id, vendor`,
  );
  return rows.map(({ identity }) => identity);
}

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.host_word RESTART IDENTITY');
});

describe('a statement that changes tasks records each execution that it changed, once', () => {
  it('when tasks are inserted, also 10,000 of 100 executions', async () => {
    const ids = await createExecutions(database, 100, Array<string>(100).fill('Running'));
    expect(await recorded()).toEqual(ids.map((id) => `${id}:REPLICATION`));
  });

  it.each([
    ['status', `status = 'Error'`],
    ['end_time', `end_time = end_time + interval '1 second'`],
    ['end_time to nothing', `end_time = NULL`],
    ['id', `id = id + 1000`],
  ])('when its tasks change in %s', async (_name, change) => {
    const [id] = await createExecutions(database, 1, ['Success', 'Success']);
    await recorded();
    await database.query(`UPDATE task SET ${change}`);
    expect(await recorded()).toEqual([`${id}:REPLICATION`]);
  });

  it('when a task moves to another execution: both of them', async () => {
    const [first, second] = await createExecutions(database, 2);
    await recorded();
    await database.query('UPDATE task SET execution_id = $1 WHERE execution_id = $2', [
      first,
      second,
    ]);
    expect(await recorded()).toEqual([`${first}:REPLICATION`, `${second}:REPLICATION`]);
  });

  it.each(['Pending', 'Scheduled', 'Running'])(
    'when a deleted task was %s: nothing else may have been unfinished',
    async (status) => {
      const id = await createExecution(database, ['Success', status]);
      await recorded();
      await database.query('DELETE FROM task WHERE status = $1', [status]);
      await refreshExecutions(database, [id], false);
      expect((await readExecution(database, id)).status).toBe('Success');
      expect(await outboxRows(database)).toBe(0);
    },
  );

  it('10,000 updated tasks of 100 executions are 100 rows', async () => {
    await createExecutions(database, 100, Array<string>(100).fill('Running'));
    await recorded();
    await database.query(`UPDATE task SET status = 'Success'`);
    expect(await recorded()).toHaveLength(100);
  });
});

describe('every kind of statement is seen', () => {
  it.each([
    [
      'INSERT … ON CONFLICT DO UPDATE',
      `INSERT INTO task SELECT * FROM task ON CONFLICT (id) DO UPDATE SET status = 'Error'`,
    ],
    [
      'MERGE',
      `MERGE INTO task t USING execution e ON t.execution_id = e.id
         WHEN MATCHED AND t.status = 'Running' THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'Error'`,
    ],
    ['a deletion that cascades', 'DELETE FROM execution'],
  ])('%s', async (_name, statement) => {
    const ids = [
      ...(await createExecutions(database, 1, ['Running'])),
      ...(await createExecutions(database, 1, ['Success', 'Running'])),
    ];
    await recorded();
    const client = await openClient(databaseUrl);
    await client.query(`BEGIN; ALTER TABLE task DROP CONSTRAINT task_execution_id_fkey,
      ADD FOREIGN KEY (execution_id) REFERENCES execution ON DELETE CASCADE`);
    await client.query(statement);
    const { rows } = await client.query<{ id: string }>(
      'SELECT DISTINCT execution_id AS id FROM tally.outbox ORDER BY id',
    );
    await client.query('ROLLBACK');
    expect(rows.map(({ id }) => Number(id))).toEqual(ids);
  });
});

describe('nothing is recorded', () => {
  it.each([
    ['that changes neither status nor end', `job_id = 'x', status_message = 'y', run_count = 3`],
    ['that stores the same again', `status = status, end_time = end_time`],
  ])('for an update %s', async (_name, change) => {
    await createExecutions(database, 1);
    await recorded();
    await database.query(`UPDATE task SET ${change}`);
    expect(await recorded()).toEqual([]);
    await database.query(`UPDATE task SET status = 'Error'`);
    expect(await recorded()).toHaveLength(1);
  });

  it('for a transaction that is rolled back', async () => {
    await createExecutions(database, 1);
    await recorded();
    const client = await openClient(databaseUrl);
    await client.query('BEGIN');
    await client.query(`UPDATE task SET status = 'Error'`);
    expect((await client.query('SELECT FROM tally.outbox')).rowCount).toBe(1);
    await client.query('ROLLBACK');
    expect(await recorded()).toEqual([]);
  });
});

describe("the host isn't harmed", () => {
  it('a role without any right in schema tally changes tasks, and that is recorded', async () => {
    const [id] = await createExecutions(database, 1);
    await recorded();
    await database.query(
      `DO $$ BEGIN CREATE ROLE capture_host; EXCEPTION WHEN duplicate_object THEN NULL; END $$`,
    );
    await database.query('GRANT SELECT, INSERT, UPDATE, DELETE ON task TO capture_host');
    const client = await openClient(databaseUrl);
    await client.query('SET ROLE capture_host');
    await expect(client.query('SELECT FROM tally.outbox')).rejects.toThrow(/permission denied/);
    await client.query(`UPDATE task SET status = 'Error'`);
    await client.query('RESET ROLE');
    await client.query('REVOKE ALL ON task FROM capture_host');
    expect(await recorded()).toEqual([`${id}:REPLICATION`]);
  });

  it.each([
    ['scan-all', 'scan-all'],
    [' a:b\n', ' a:b\n'],
    ['', '_'],
    ['é'.repeat(64), 'é'.repeat(64)],
  ])('a vendor %j is recorded as %j instead of breaking its transaction', async (vendor, label) => {
    const [id] = await createExecutions(database, 1);
    await recorded();
    await database.query(`UPDATE task SET vendor_type = $1, status = 'Error'`, [vendor]);
    expect(await recorded()).toContain(`${id}:${label}`);
  });

  it('an execution id that no refresh can have is left out', async () => {
    const [id] = await createExecutions(database, 1);
    await recorded();
    await database.query(
      `INSERT INTO execution (id, vendor_type, trigger) VALUES (-7, 'REPLICATION', 'MANUAL'), (0, 'REPLICATION', 'MANUAL')`,
    );
    await database.query(
      `INSERT INTO task (execution_id, status, status_code, vendor_type)
       SELECT id, 'Success', 3, 'X' FROM unnest($1::bigint[]) AS id`,
      [[-7, 0, id]],
    );
    expect(await recorded()).toEqual([`${id}:X`]);
  });

  it("session objects with the names that capture uses don't divert it", async () => {
    const [id] = await createExecutions(database, 1);
    await recorded();
    const client = await openClient(databaseUrl);
    await client.query(`
      CREATE TEMP TABLE outbox (LIKE tally.outbox);
      CREATE TEMP TABLE old_tasks (LIKE public.task);
      CREATE TEMP TABLE new_tasks (LIKE public.task);
      CREATE SCHEMA foreign_names;
      CREATE FUNCTION foreign_names.left(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT 'DIVERTED' $$;
      SET search_path = foreign_names, pg_temp, pg_catalog`);
    await client.query(`UPDATE public.task SET status = 'Error', vendor_type = 'small'`);
    expect((await recorded()).at(-1)).toBe(`${id}:small`);
  });

  it("two transactions that change tasks of one execution don't wait for each other", async () => {
    await createExecutions(database, 1, ['Running', 'Running']);
    const tasks = await database.query<{ id: number }>('SELECT id::bigint AS id FROM task');
    const [one, two] = [await openClient(databaseUrl), await openClient(databaseUrl)];
    await one.query('BEGIN');
    await one.query(`UPDATE task SET status = 'Success' WHERE id = $1`, [tasks[0]?.id]);
    await two.query(`SET lock_timeout = '1s'`);
    await two.query(`UPDATE task SET status = 'Success' WHERE id = $1`, [tasks[1]?.id]);
    await one.query('COMMIT');
    expect(await recorded()).toHaveLength(3);
  });
});

describe('enabling', () => {
  it.each([
    'ALTER TABLE task DISABLE TRIGGER tally_capture_update',
    'DROP TRIGGER tally_capture_status ON execution',
  ])('is incomplete after %s, and enabling again repairs it', async (change) => {
    await database.query(change);
    expect(await withClient(databaseUrl, 'test', readCaptureState)).toBe('incomplete');
    await withClient(databaseUrl, 'test', enableCapture);
    await withClient(databaseUrl, 'test', enableCapture);
    expect(await withClient(databaseUrl, 'test', readCaptureState)).toBe('enabled');
  });

  it('waits only moments at a time for a transaction that holds the table, and then succeeds', async () => {
    await createExecutions(database, 1);
    const [holder, writer] = [await openClient(databaseUrl), await openClient(databaseUrl)];
    await holder.query('BEGIN');
    await holder.query(`UPDATE task SET status_message = 'held'`);
    const enabling = withClient(databaseUrl, 'test', enableCapture);
    await until('it to wait for the lock', async () => {
      const rows = await database.query(
        `SELECT FROM pg_locks WHERE relation = to_regclass('task') AND NOT granted`,
      );
      return rows.length > 0;
    });
    // Queued behind the one who waits for the table; 500 ms of that at most, with room for a slow machine.
    await writer.query(`SET lock_timeout = '3s'`);
    await writer.query(
      `INSERT INTO task (execution_id, status, status_code, vendor_type) SELECT id, 'Running', 2, 'X' FROM execution`,
    );
    await holder.query('COMMIT');
    await enabling;
    expect(await withClient(databaseUrl, 'test', readCaptureState)).toBe('enabled');
  });

  it.each([
    [
      'a view',
      'ALTER TABLE task RENAME TO task_table; CREATE VIEW task AS SELECT * FROM task_table',
    ],
    [
      'partitioned',
      'ALTER TABLE task RENAME TO old; CREATE TABLE task (LIKE old) PARTITION BY HASH (id)',
    ],
    ['a parent', 'CREATE TABLE task_child () INHERITS (task)'],
    ['a child', 'ALTER TABLE task RENAME TO parent; CREATE TABLE task () INHERITS (parent)'],
  ])('is refused when task is %s, with what to do instead', async (_name, change) => {
    const client = await openClient(databaseUrl);
    // Undone with the transaction; enabling opens one inside, which Postgres only warns of.
    await client.query('BEGIN');
    await client.query(change);
    await expect(enableCapture(client)).rejects.toThrow(/record refreshes with POST/);
    await client.query('ROLLBACK');
  });
});

it("bigint ids within a refresh's range are recorded and reconciled, and larger ones hinder neither", async () => {
  await database.query(`ALTER TABLE task ALTER execution_id TYPE bigint, ALTER id TYPE bigint`);
  await database.query(`ALTER TABLE execution ALTER id TYPE bigint`);
  const ids = [5_000_000_000, Number.MAX_SAFE_INTEGER];
  await database.query(
    `INSERT INTO execution (id, vendor_type, trigger, status) SELECT id, 'SCAN', 'MANUAL', 'Running'
       FROM unnest($1::bigint[] || '{9007199254740992,9223372036854775807}') AS id`,
    [ids],
  );
  await database.query(
    `INSERT INTO task (execution_id, status, status_code, vendor_type)
     SELECT id, 'Success', 3, 'SCAN' FROM execution`,
  );
  const identities = ids.map((id) => `${id}:SCAN`);
  expect(await recorded()).toEqual(identities);
  await database.query(`UPDATE task SET status = 'Error'`);
  expect(await recorded()).toEqual(identities);
  for (const look of [readDisagreements, recordDisagreements]) {
    const page = await look(database, 0, 10);
    expect(page.disagreements.map(({ executionId }) => executionId)).toEqual(ids);
    expect(page.last).toBe(Number.MAX_SAFE_INTEGER);
  }
});
