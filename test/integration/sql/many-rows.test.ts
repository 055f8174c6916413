import { beforeEach, expect, it } from 'vitest';
import { claimExecutions } from '../../../shared/postgres/backlog.ts';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { refreshExecutions } from '../../../workers/refresh-executions.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
  refreshOf,
} from '../../support/executions.ts';
import { lockExecutions } from '../../support/sabotage.ts';
import { costOf } from '../../support/statement-cost.ts';
import { createStores } from '../../support/stores.ts';

/** Outbox rows that one statement deletes at most. */
const MOST = 20_000;

const { database, environment } = await createStores();

beforeEach(() => database.query('TRUNCATE execution, task, tally.outbox'));

/** Records so many due rows of one execution, in the transactions of changes or of deletions. */
async function recordMany(id: number, count: number, onlyFinishes = false): Promise<void> {
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, only_finishes)
     SELECT $1::bigint, 'REPLICATION', 'capture', $3::boolean FROM generate_series(1, $2)`,
    [id, count, onlyFinishes],
  );
}

async function rowsOf(id: number): Promise<number> {
  const rows = await database.query('SELECT FROM tally.outbox WHERE execution_id = $1', [id]);
  return rows.length;
}

async function failForGood(id: number): Promise<void> {
  await recordFailure(database, {
    ...refreshOf(id),
    jobId: `${id}:REPLICATION:1`,
    error: 'refused',
    sqlState: undefined,
    attempts: 1,
    attemptMs: 1_000,
  });
}

it('an execution with very many rows is refreshed at once, and 20,000 of its rows are deleted; the rest asks for another refresh', async () => {
  const id = await createExecution(database);
  await recordMany(id, MOST + 5);
  expect(await refreshExecutions(database, [id], false)).toMatchObject([{ outcome: 'changed' }]);
  expect(await outboxRows(database)).toBe(5);
  await refreshExecutions(database, [id], false);
  expect(await outboxRows(database)).toBe(0);
});

it('an execution with very many rows leaves the others of its batch an equal share, so no final status is judged without its rows', async () => {
  const [many = 0, final = 0] = await createExecutions(database, 2);
  await refreshExecutions(database, [final], false);
  // A deletion alone asks for it, and may not change its status.
  await database.query(`UPDATE task SET status = 'Error' WHERE execution_id = $1`, [final]);
  await recordMany(many, MOST + 5);
  await recordMany(final, 1, true);
  const reports = await refreshExecutions(database, [many, final], false);
  expect(reports.map(({ outcome }) => outcome)).toEqual(['changed', 'unchanged']);
  expect(await readExecution(database, final)).toMatchObject({ status: 'Success' });
  expect([await rowsOf(many), await rowsOf(final)]).toEqual([MOST / 2 + 5, 0]);
});

it('the record of a failure deletes 20,000 rows of its execution, too; the rest asks for another refresh', async () => {
  const id = await createExecution(database);
  await recordMany(id, MOST + 5);
  await database.query(`UPDATE tally.outbox SET sent_at = clock_timestamp() - interval '1 minute'`);
  await failForGood(id);
  expect(await outboxRows(database)).toBe(5);
});

it('beside an execution with very many rows, those of one that somebody holds stay', async () => {
  const [many = 0, held = 0] = await createExecutions(database, 2);
  await recordMany(many, MOST + 5);
  await recordMany(held, 1);
  const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
  await refreshExecutions(database, [many, held], false);
  await unlock();
  expect(await rowsOf(held)).toBe(1);
});

it('of several executions with very many rows, a claim takes no more than 20,000 in all', async () => {
  const ids = await createExecutions(database, 3);
  for (const id of ids) await recordMany(id, 7_000);
  const { identities, rowIds } = await claimExecutions(database, ids);
  expect(identities).toHaveLength(3);
  expect(rowIds).toHaveLength(3 * Math.floor(MOST / 3));
});

it('while statistics are older than a sudden backlog, nobody steps through all of it for a few executions', async () => {
  await database.query('ALTER TABLE tally.outbox SET (autovacuum_enabled = off)');
  const [few, [many = 0]] = [
    await createExecutions(database, 10),
    await createExecutions(database, 1),
  ];
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source)
     SELECT n, 'REPLICATION', 'capture' FROM generate_series($1::bigint + 1, $1::bigint + 100000) AS n`,
    [many],
  );
  for (const id of few) await recordMany(id, 1);
  const steps = {
    claim: () => claimExecutions(database, few),
    record: () => failForGood(few[0] ?? 0),
    refresh: () => refreshExecutions(database, few, false),
  };
  for (const [name, step] of Object.entries(steps)) {
    const { cost } = await costOf<unknown>(database, step);
    expect(cost.widest.pages, `${name}: ${cost.widest.query}`).toBeLessThan(1_000);
  }
  // Where the limit bites, each execution is looked for on its own.
  await recordMany(many, MOST + 5);
  for (const id of few) await recordMany(id, 1);
  const { cost } = await costOf(database, () => refreshExecutions(database, [...few, many], false));
  expect(cost.widest.pages, cost.widest.query).toBeLessThan(10 * MOST);
});
