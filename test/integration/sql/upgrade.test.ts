import { expect, it } from 'vitest';
import { readCaptureState } from '../../../shared/postgres/capture.ts';
import { withClient } from '../../../shared/postgres/database.ts';
import { migrate } from '../../../shared/postgres/migrate.ts';
import { someoneToWait } from '../../support/lock-waits.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';

const { config, database } = await createStores({ capture: true });
const databaseUrl = config.DATABASE_URL;
const role = `runs_${new URL(databaseUrl).pathname.slice(1)}`;

it('tally migrate completes the capture of an older version, unless it was switched off', async () => {
  await database.query('DROP TRIGGER tally_capture_status ON execution');
  await migrate(databaseUrl, silent);
  expect(await withClient(databaseUrl, 'test', readCaptureState)).toBe('enabled');
  await database.query('DROP TRIGGER tally_capture_status ON execution');
  await database.query('ALTER TABLE task DISABLE TRIGGER tally_capture_delete');
  await migrate(databaseUrl, silent);
  expect(await withClient(databaseUrl, 'test', readCaptureState)).toBe('incomplete');
});

it('tally migrate lets a role that ran the older version run this one', async () => {
  await database.query(`CREATE ROLE ${role}`);
  const client = await openClient(databaseUrl);
  try {
    // What an installation of before 0004 had been given.
    await client.query(`GRANT USAGE ON SCHEMA tally TO ${role};
      GRANT EXECUTE ON FUNCTION tally.refresh_executions(bigint[], boolean), tally.rollup(bigint[]) TO ${role};
      GRANT SELECT, INSERT, UPDATE, DELETE ON tally.outbox, tally.failure TO ${role};
      GRANT SELECT ON execution, task TO ${role};
      GRANT UPDATE (status, end_time, revision, update_time) ON execution TO ${role}`);
    const refresh = async (): Promise<unknown> => {
      await client.query(`SET ROLE ${role}`);
      try {
        return await client.query('SELECT * FROM tally.refresh_executions(ARRAY[1::bigint])');
      } finally {
        await client.query('RESET ROLE');
      }
    };
    await expect(refresh()).rejects.toThrow(/permission denied/);
    await migrate(databaseUrl, silent);
    await refresh();
  } finally {
    await client.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

it('tally migrate adds the column for traces while host transactions come and go, and keeps the rows', async () => {
  const insert = `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES (1, 'REPLICATION', 'api')`;
  await database.query('TRUNCATE tally.outbox');
  await database.query('ALTER TABLE tally.outbox DROP COLUMN traceparent');
  await database.query(`DELETE FROM tally.migration WHERE name = '0007_traceparent'`);
  const host = await openClient(databaseUrl);
  await host.query('BEGIN');
  await host.query(insert);
  const migrated = migrate(databaseUrl, silent);
  // It asks for the lock again and again, and others write in between.
  await someoneToWait(database);
  await database.query(insert);
  await host.query('COMMIT');
  expect(await migrated).toEqual(['0007_traceparent']);
  expect(await database.query('SELECT traceparent FROM tally.outbox')).toEqual([
    { traceparent: null },
    { traceparent: null },
  ]);
});
