import { expect, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../../../shared/postgres/database.ts';
import { COUNTED_ROWS, summarizeOutbox } from '../../../../shared/postgres/outbox.ts';
import { createStores, silent } from '../../../support/stores.ts';

const { config, database } = await createStores();

it('a summary of a large outbox reads a bounded number of rows, and says that it is an estimate', async () => {
  const rows = 3 * COUNTED_ROWS;
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, created_at, sent_at)
     SELECT n, 'SCAN', 'api', clock_timestamp() - interval '1 hour',
            CASE WHEN n <= 100 THEN clock_timestamp() END
       FROM generate_series(1, $1) AS n`,
    [rows],
  );
  await database.query('ANALYZE tally.outbox');
  const session = openDatabase(config.DATABASE_URL, silent, { connections: 1, name: 'sum' });
  onTestFinished(() => session.close());
  const rowsRead = async (): Promise<number> => {
    await session.query('SELECT pg_stat_force_next_flush()');
    const [table] = await session.query<{ read: number }>(
      `SELECT (seq_tup_read + idx_tup_fetch)::bigint AS read FROM pg_stat_user_tables
        WHERE relid = 'tally.outbox'::regclass`,
    );
    return table?.read ?? 0;
  };
  const before = await rowsRead();
  const summary = await summarizeOutbox(session);
  expect((await rowsRead()) - before).toBeLessThan(rows);
  expect(summary.estimated).toBe(true);
  expect(Math.abs(summary.rows - rows)).toBeLessThan(rows / 10);
  expect(summary.rows - summary.unsent).toBe(100);
  expect(summary.oldestSeconds).toBeGreaterThan(3_599);
});

it('a summary of up to 100,000 rows is exact, whatever the statistics say', async () => {
  await database.query('TRUNCATE tally.outbox');
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source) SELECT n, 'SCAN', 'api' FROM generate_series(1, 5) AS n`,
  );
  expect(await summarizeOutbox(database)).toMatchObject({ rows: 5, unsent: 5 });
  expect(await summarizeOutbox(database)).not.toHaveProperty('estimated');
});
