import { afterAll, beforeEach, expect, it } from 'vitest';
import { OutboxClaims, type ClaimedRow } from '../../../producers/outbox-claims.ts';
import { openDatabase } from '../../../shared/postgres/database.ts';
import { endedOrWaits } from '../../support/lock-waits.ts';
import { controlClock } from '../../support/process-clock.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';

const { config, database } = await createStores();
const claiming = openDatabase(config.DATABASE_URL, silent, {
  connections: 1,
  name: 'claims',
});
afterAll(() => claiming.close());

beforeEach(() => database.query('TRUNCATE tally.outbox'));

const RECORD = `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
  VALUES ($1, 'SCAN', 'api', clock_timestamp() - $2 * interval '1 millisecond')`;
/** Records a refresh that has been due for so many milliseconds. */
const record = (executionId: number, dueMs: number): Promise<unknown> =>
  database.query(RECORD, [executionId, dueMs]);
const idsOf = (rows: readonly ClaimedRow[]): number[] =>
  rows.map(({ executionId }) => executionId).toSorted((a, b) => a - b);

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
  expect(idsOf(claimed)).toEqual(Array.from({ length: 2_000 }, (_none, n) => n + 1));
  const [statement] = await database.query<{ calls: number; spilt: number }>(
    `SELECT sum(calls)::bigint AS calls, sum(temp_blks_written)::bigint AS spilt FROM pg_stat_statements
      WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query LIKE 'UPDATE tally.outbox SET sent_at = clock_timestamp()%'`,
  );
  expect(statement).toEqual({ calls: 2, spilt: 0 });
});

it('a claim takes the rows that no other relay is claiming, and waits for none', async () => {
  for (const id of [1, 2, 3, 4]) await record(id, 1_000 - id);
  const other = await openClient(config.DATABASE_URL);
  // What another claim has done before it commits.
  await other.query('BEGIN');
  await other.query('UPDATE tally.outbox SET sent_at = clock_timestamp() WHERE execution_id < 3');
  const claimed = new OutboxClaims(claiming).claim(10, undefined);
  expect(await endedOrWaits(database, claimed)).toBe('ended');
  await other.query('COMMIT');
  expect(idsOf(await claimed)).toEqual([3, 4]);
});

it('while the backlog lane takes the oldest rows, a claim takes the newest', async () => {
  for (const id of [1, 2, 3, 4]) await record(id, 1_000 - id);
  const claims = new OutboxClaims(claiming);
  expect(idsOf(await claims.claim(2, 60_000))).toEqual([3, 4]);
});

it('a row that came while the relay was held up still counts as fresh', async () => {
  const holdUp = controlClock();
  const claims = new OutboxClaims(claiming);
  await claims.claim(10, 1_000);
  await record(1, 600_000);
  await record(2, 60_000);
  holdUp(120_000);
  expect(idsOf(await claims.claim(10, 1_000))).toEqual([2]);
});

it('a row that commits long after later ones were claimed is claimed', async () => {
  const holdUp = controlClock();
  const claims = new OutboxClaims(claiming);
  const writer = await openClient(config.DATABASE_URL);
  await writer.query('BEGIN');
  await writer.query(RECORD, [1, 60_000]);
  await record(2, 0);
  expect(idsOf(await claims.claim(10, undefined))).toEqual([2]);
  await writer.query('COMMIT');
  // The outbox is read from its beginning only now and then.
  holdUp(3_600_000);
  expect(idsOf(await claims.claim(10, undefined))).toEqual([1]);
});
