import { expect, it } from 'vitest';
import { openDatabase } from '../../../../shared/postgres/database.ts';
import { failureRecordPages, recordFailure } from '../../../../shared/postgres/failures.ts';
import { recordRefreshes } from '../../../../shared/postgres/outbox.ts';
import { refreshOf } from '../../../support/executions.ts';
import { endedOrWaits } from '../../../support/lock-waits.ts';
import { createStores, openClient, silent } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const { config, database } = await createStores();
const identity = refreshOf(42);

const fail = (jobId: string, attemptMs = 0): Promise<void> =>
  recordFailure(database, {
    ...identity,
    jobId,
    error: 'no',
    sqlState: undefined,
    attempts: 1,
    attemptMs,
  });

it('a failure is recorded while a refresh of the same execution has its rows, without a deadlock', async () => {
  await fail('first');
  await recordRefreshes(database, [identity], 'api');
  await database.query(`UPDATE tally.outbox SET sent_at = clock_timestamp() - interval '1 minute'`);
  const refresh = await openClient(config.DATABASE_URL);
  await refresh.query('BEGIN');
  await refresh.query('DELETE FROM tally.outbox WHERE execution_id = 42');
  const recording = fail('second');
  expect(await endedOrWaits(database, recording)).toBe('ended');
  // What a refresh does next; it would wait for the record, and the record for its rows.
  await refresh.query('UPDATE tally.failure SET refreshed = true WHERE execution_id = 42');
  await refresh.query('COMMIT');
  await recording;
  expect(await database.query("SELECT times FROM tally.failure WHERE job_id = 'second'")).toEqual([
    { times: 2 },
  ]);
  expect(await database.query('SELECT FROM tally.outbox')).toEqual([]);
});

it('a recorded failure deletes the rows that its job was sent for, and no other', async () => {
  await database.query('TRUNCATE tally.outbox');
  const addRow = async (executionId: number, sentSecondsAgo: number | null): Promise<number> => {
    const [row] = await database.query<{ id: number }>(
      `INSERT INTO tally.outbox (execution_id, vendor, source, sent_at)
       VALUES ($1, $2, 'api', clock_timestamp() - $3 * interval '1 second') RETURNING id`,
      [executionId, identity.vendor, sentSecondsAgo],
    );
    return row?.id ?? 0;
  };
  await addRow(42, 600);
  // Sent while the attempt ran, not sent at all, and of another execution.
  const others = [await addRow(42, 60), await addRow(42, null), await addRow(43, 600)];
  await fail('third', 300_000);
  const left = await database.query<{ id: number }>('SELECT id FROM tally.outbox ORDER BY id');
  expect(left.map(({ id }) => id)).toEqual(others);
});

it('all records are read once each, in pages, before the planner has statistics about them', async () => {
  const records = 20_000;
  await database.query('TRUNCATE tally.failure');
  await database.query(
    `INSERT INTO tally.failure (job_id, execution_id, vendor, error)
     SELECT md5(n::text), n, 'REPLICATION', 'no' FROM generate_series(1, $1) AS n`,
    [records],
  );
  const rowsRead = async (): Promise<number> => {
    const [row] = await database.query<{ rows: number }>(
      `SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_user_tables WHERE relid = 'tally.failure'::regclass`,
    );
    return row?.rows ?? 0;
  };
  const before = await rowsRead();
  const reading = openDatabase(config.DATABASE_URL, silent, { connections: 1, name: 'reading' });
  const pages: number[] = [];
  for await (const page of failureRecordPages(reading)) pages.push(page.length);
  // A backend tells what it has read when it ends.
  await reading.close();
  expect(pages.reduce((sum, count) => sum + count, 0)).toBe(records);
  expect(Math.max(...pages)).toBeLessThan(records / 5);
  await until('what was read to be told', async () => (await rowsRead()) - before >= records);
  expect((await rowsRead()) - before).toBeLessThan(records * 1.1);
});
