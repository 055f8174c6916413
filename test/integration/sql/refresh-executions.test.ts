import { beforeEach, describe, expect, it } from 'vitest';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { refreshExecutions } from '../../../workers/refresh-executions.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
  refreshOf,
  refreshesOf,
} from '../../support/executions.ts';
import { expectNothingBroken } from '../../support/invariants.ts';
import { endedOrWaits, someoneToWait } from '../../support/lock-waits.ts';
import { closeGate, lockExecutions } from '../../support/sabotage.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { injectFault } from '../../support/fault.ts';

const { database, environment } = await createStores();
const END = '2026-01-02 03:04:05';

beforeEach(() => database.query('TRUNCATE execution, task, tally.outbox'));

describe('the rule', () => {
  it.each([
    [['Pending'], 'Running', null],
    [['Scheduled'], 'Running', null],
    [['Running'], 'Running', null],
    [['Success', 'Error', 'Running'], 'Running', null],
    [['Success', 'Stopped', 'Error'], 'Error', END],
    [['Success', 'Stopped'], 'Stopped', END],
    [['Success', 'Success'], 'Success', END],
    [['Success', 'Weird'], 'Success', END],
    [['Weird', 'Running'], 'Running', null],
  ])('tasks %j give %s, ended %s', async (tasks, status, endTime) => {
    const id = await createExecution(database, tasks);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toEqual({ status, endTime, revision: 1 });
  });

  it('the case of a task status matters', async () => {
    const id = await createExecution(database, ['success']);
    expect(await refreshExecutions(database, [id], false)).toMatchObject([{ outcome: 'no_tasks' }]);
  });

  it('the end time is the latest of all tasks, unknown statuses and year 1 included', async () => {
    const id = await createExecution(database, ['Success', 'Weird']);
    await database.query(
      `UPDATE task SET end_time = CASE status WHEN 'Weird' THEN '2026-05-06 07:08:09'::timestamp
                                              ELSE '0001-01-01 00:00:00' END`,
    );
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ endTime: '2026-05-06 07:08:09' });
    await database.query(`UPDATE task SET end_time = '0001-01-01 00:00:00'`);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ endTime: '0001-01-01 00:00:00' });
  });

  it('an execution without tasks, or with unknown ones only, is left alone', async () => {
    const none = await createExecution(database, []);
    const unknown = await createExecution(database, ['Weird']);
    const reports = await refreshExecutions(database, [none, unknown], false);
    expect(reports.map(({ outcome }) => outcome)).toEqual(['no_tasks', 'no_tasks']);
    expect(await readExecution(database, none)).toMatchObject({ status: 'Running', revision: 0 });
    expect(await readExecution(database, unknown)).toMatchObject({
      status: 'Running',
      revision: 0,
    });
  });

  it('a final execution goes back to Running, without an end, when a task runs again', async () => {
    const id = await createExecution(database, ['Success']);
    await refreshExecutions(database, [id], false);
    await database.query(`UPDATE task SET status = 'Running'`);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toEqual({
      status: 'Running',
      endTime: null,
      revision: 2,
    });
  });

  it('a revision of NULL becomes 1, and an unchanged status still raises it', async () => {
    const id = await createExecution(database);
    await database.query('UPDATE execution SET revision = NULL');
    expect(await refreshExecutions(database, [id], false)).toMatchObject([{ outcome: 'changed' }]);
    expect(await readExecution(database, id)).toMatchObject({ revision: 1 });
    expect(await refreshExecutions(database, [id], false)).toMatchObject([
      { outcome: 'unchanged' },
    ]);
    expect(await readExecution(database, id)).toMatchObject({ revision: 2 });
  });

  it('only status, end_time, revision and update_time of an execution are written', async () => {
    const id = await createExecution(database);
    await database.query(
      `UPDATE execution SET status_message = 'kept', extra_attrs = '{"a":1}', update_time = NULL`,
    );
    const others = `SELECT to_jsonb(e) - '{status,end_time,revision,update_time}'::text[] AS kept,
      update_time = date_trunc('second', update_time)
        AND abs(extract(epoch FROM update_time - timezone('UTC', now()))) < 60 AS in_utc_seconds
      FROM execution e`;
    const [before] = await database.query<{ kept: unknown }>(others);
    await refreshExecutions(database, [id], false);
    const [after] = await database.query<{ kept: unknown }>(others);
    expect(after).toEqual({ kept: before?.kept, in_utc_seconds: true });
  });
});

describe('the outbox', () => {
  it('a refresh deletes the due rows of its executions and reports the oldest one, and no others', async () => {
    const [first = 0, second = 0] = await createExecutions(database, 2);
    await recordRefreshes(database, [refreshOf(first)], 'api');
    await recordRefreshes(database, [refreshOf(first)], 'marker');
    await recordRefreshes(database, [refreshOf(second)], 'api');
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
       VALUES ($1, 'REPLICATION', 'marker', now() + interval '1 hour')`,
      [first],
    );
    const [report] = await refreshExecutions(database, [first], false);
    expect(report).toMatchObject({ executionId: first, source: 'api' });
    expect(report?.lagMs).toBeGreaterThan(0);
    expect(await outboxRows(database)).toBe(2);
  });

  it.each([
    [0, 'REPLICATION'],
    [2 ** 53, 'REPLICATION'],
    [1, ''],
    [1, 'X'.repeat(256)],
  ])(
    'a row that no worker would take is refused where it is written: %s, %j',
    async (id, vendor) => {
      const row = recordRefreshes(database, [{ executionId: id, vendor }], 'api');
      await expect(row).rejects.toThrow(/violates check constraint/);
    },
  );

  it('the rows of a deleted execution and of one without tasks are deleted', async () => {
    const id = await createExecution(database, []);
    await recordRefreshes(database, refreshesOf([id, 999_999]), 'api');
    const reports = await refreshExecutions(database, [id, 999_999], false);
    expect(reports.map(({ outcome }) => outcome)).toEqual(['no_tasks', 'missing']);
    expect(await outboxRows(database)).toBe(0);
  });
});

describe('two at a time', () => {
  it('a change that is committed while its refresher waits for the lock is neither missed nor lost', async () => {
    injectFault(25, 'two refreshers, the newer one waiting for the row lock, a commit in between');
    const id = await createExecution(database, ['Running']);
    const [older, writer] = [
      await openClient(environment.DATABASE_URL),
      await openClient(environment.DATABASE_URL),
    ];
    // The older refresher is inside its transaction, with the row locked.
    await older.query('BEGIN');
    await older.query('SELECT * FROM tally.refresh_executions(ARRAY[$1::bigint])', [id]);
    const newer = refreshExecutions(database, [id], true);
    await someoneToWait(database);
    await writer.query('BEGIN');
    await writer.query(`UPDATE task SET status = 'Success'`);
    await writer.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES ($1, 'REPLICATION', 'capture')`,
      [id],
    );
    await writer.query('COMMIT');
    await older.query('COMMIT');
    expect(await newer).toMatchObject([{ outcome: 'changed' }]);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 2 });
    await expectNothingBroken({ database });
  });

  it('a change whose row is deleted is one that the tasks were read after', async () => {
    injectFault(25, 'a row committed between the delete and the aggregate');
    const [id = 0] = await createExecutions(database, 1, ['Running']);
    const writer = await openClient(environment.DATABASE_URL);
    await writer.query('BEGIN');
    // Holds up the choice of the rows to delete, and nothing before it.
    await writer.query('LOCK TABLE tally.outbox IN EXCLUSIVE MODE');
    const refreshing = refreshExecutions(database, [id], false);
    await someoneToWait(database);
    await writer.query(`UPDATE task SET status = 'Success'`);
    await writer.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES ($1, 'REPLICATION', 'capture')`,
      [id],
    );
    await writer.query('COMMIT');
    await refreshing;
    await expectNothingBroken({ database });
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success' });
  });

  it('an execution that another transaction has locked is reported busy at once, and keeps its rows', async () => {
    const [held = 0, free = 0] = await createExecutions(database, 2);
    await recordRefreshes(database, [refreshOf(held)], 'api');
    const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
    const refreshing = refreshExecutions(database, [held, free], false);
    expect(await endedOrWaits(database, refreshing)).toBe('ended');
    await unlock();
    const reports = await refreshing;
    expect(reports.map(({ outcome }) => outcome)).toEqual(['busy', 'changed']);
    expect(await outboxRows(database)).toBe(1);
  });

  it('a change that commits after its refresh has read the tasks keeps its row for the next one', async () => {
    const [first = 0, id = 0] = await createExecutions(database, 2, ['Running']);
    const gate = await closeGate({ database, environment }, { ids: [first] });
    const refreshing = refreshExecutions(database, [first, id], false);
    await gate.reached();
    const writer = await openClient(environment.DATABASE_URL);
    await writer.query('BEGIN');
    await writer.query(`UPDATE task SET status = 'Success' WHERE execution_id = $1`, [id]);
    await writer.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES ($1, 'REPLICATION', 'capture')`,
      [id],
    );
    await writer.query('COMMIT');
    await gate.open();
    await refreshing;
    // A refresh that deleted rows after it had read the tasks would now have lost the change.
    expect(await readExecution(database, id)).toMatchObject({ status: 'Running', revision: 1 });
    expect(await outboxRows(database)).toBe(1);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 2 });
    expect(await outboxRows(database)).toBe(0);
  });

  it("inserting a task isn't blocked by a refresh in progress", async () => {
    const id = await createExecution(database);
    const refresher = await openClient(environment.DATABASE_URL);
    await refresher.query('BEGIN');
    const { rows } = await refresher.query(
      'SELECT outcome FROM tally.refresh_executions(ARRAY[$1::bigint])',
      [id],
    );
    // So it holds the row, until it is rolled back.
    expect(rows).toEqual([{ outcome: 'changed' }]);
    const inserter = await openClient(environment.DATABASE_URL);
    await inserter.query(`SET lock_timeout = '2s'`);
    await inserter.query(
      `INSERT INTO task (execution_id, status, status_code, vendor_type) VALUES ($1, 'Pending', 0, 'X')`,
      [id],
    );
    await refresher.query('ROLLBACK');
  });
});

it('a session planned on empty tables reads only what it needs of full ones', async () => {
  const client = await openClient(environment.DATABASE_URL);
  const refresh = async (ids: readonly number[]): Promise<void> => {
    await client.query('SELECT * FROM tally.refresh_executions($1)', [ids]);
  };
  for (const table of ['tally.outbox', 'tally.failure', 'execution', 'task']) {
    await client.query(`VACUUM ANALYZE ${table}`);
  }
  // Postgres keeps a plan from the sixth call on.
  for (let call = 0; call < 10; call++) await refresh([1, 2]);
  const ids = await createExecutions(database, 5_000, ['Success']);
  await recordRefreshes(
    database,
    ids.map((executionId) => ({ executionId, vendor: 'SCAN' })),
    'api',
  );
  // So that the transaction's numbers are all that the session has not yet reported.
  await client.query('SELECT pg_stat_force_next_flush()');
  await client.query('BEGIN');
  await refresh(ids.slice(0, 100));
  const { rows } = await client.query(
    `SELECT relname, seq_tup_read, idx_tup_fetch > 0 AS fetched FROM pg_stat_xact_user_tables
      WHERE relname IN ('outbox', 'execution', 'task') ORDER BY relname`,
  );
  await client.query('COMMIT');
  expect(rows).toEqual(
    ['execution', 'outbox', 'task'].map((relname) => ({
      relname,
      seq_tup_read: '0',
      fetched: true,
    })),
  );
});
