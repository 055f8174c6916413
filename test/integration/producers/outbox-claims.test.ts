import { afterAll, expect, it } from 'vitest';
import { OutboxClaims } from '../../../producers/outbox-claims.ts';
import { openDatabase } from '../../../shared/postgres/database.ts';
import { createStores, silent } from '../../support/stores.ts';

const { config, database } = await createStores();
const claiming = openDatabase(config.DATABASE_URL, silent, {
  connections: 1,
  name: 'claims',
});
afterAll(() => claiming.close());

it('a claim from a sudden backlog, before the planner has statistics, sorts none of it', async () => {
  await database.query('CREATE EXTENSION pg_stat_statements');
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source)
     SELECT id, 'SCAN', 'api' FROM generate_series(1, 200000) AS id`,
  );
  const claims = new OutboxClaims(claiming);
  const claimed = [
    ...(await claims.claim(1_000, undefined)),
    ...(await claims.claim(1_000, undefined)),
  ];
  expect(claimed.map(({ executionId }) => executionId).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 2_000 }, (_none, n) => n + 1),
  );
  const [statement] = await database.query<{ calls: number; spilt: number }>(
    `SELECT sum(calls)::bigint AS calls, sum(temp_blks_written)::bigint AS spilt FROM pg_stat_statements
      WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query LIKE 'UPDATE tally.outbox SET sent_at = clock_timestamp()%'`,
  );
  expect(statement).toEqual({ calls: 2, spilt: 0 });
});
