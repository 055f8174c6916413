import type { Client } from 'pg';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { recordDisagreements } from '../../../shared/postgres/disagreements.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { refreshExecutions } from '../../../workers/refresh-executions.ts';
import { outboxRows, refreshOf } from '../../support/executions.ts';
import { HarborStatements } from '../../support/harbor-statements.ts';
import { someoneToWait } from '../../support/lock-waits.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { injectFault } from '../../support/fault.ts';

const { config, database } = await createStores({ capture: true });

let client: Client;
let harbor: HarborStatements;
/** An execution with two tasks, both Running, and refreshed so. */
let id: number;
let tasks: number[];

const change = (status: string, by = client): Promise<unknown> =>
  by.query('UPDATE task SET status = $2 WHERE id = $1', [tasks[0], status]);
const refresh = (): Promise<unknown> => refreshExecutions(database, [id], false);
const stored = (): Promise<string | null> => harbor.storedStatus(id);
const words = async (): Promise<number> =>
  (await database.query('SELECT FROM tally.host_word')).length;

async function another(): Promise<{ client: Client; harbor: HarborStatements }> {
  const other = await openClient(config.DATABASE_URL);
  return { client: other, harbor: new HarborStatements(other) };
}

/** Both tasks ended as Stopped, and that is refreshed: what Harbor waits for before it stores an Error. */
async function stop(): Promise<void> {
  await client.query(`UPDATE task SET status = 'Stopped' WHERE execution_id = $1`, [id]);
}

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.host_word');
  ({ client, harbor } = await another());
  id = await harbor.createExecution();
  tasks = [await harbor.createTask(id, 'Running'), await harbor.createTask(id, 'Stopped')];
  await refresh();
});

describe('a final status that the host stored by hand after a change', () => {
  it("isn't overwritten by the refresh of that change", async () => {
    injectFault(39, 'a final status stored by the host before the refresh of its change');
    await stop();
    await harbor.mark(id, 'Error', 'no space left');
    const before = await database.query('SELECT * FROM execution');
    expect(await refreshExecutions(database, [id], false)).toMatchObject([
      { outcome: 'unchanged', source: 'capture' },
    ]);
    expect(await database.query('SELECT * FROM execution')).toEqual(before);
    expect(await outboxRows(database)).toBe(0);
  });

  it("isn't overwritten by a second run of the same job, which finds no row", async () => {
    await stop();
    await refresh();
    await harbor.mark(id, 'Error', '');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('stays when change and status were stored in one transaction, with savepoints', async () => {
    await client.query('BEGIN; SAVEPOINT one');
    await stop();
    await client.query('RELEASE one; SAVEPOINT two');
    await harbor.mark(id, 'Error', '');
    await client.query('COMMIT');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it("stays when it waited for an earlier change's refresh while the later change came", async () => {
    const [refresher, marker] = [await another(), await another()];
    await refresher.client.query('BEGIN');
    await refresher.client.query('SELECT * FROM tally.refresh_executions(ARRAY[$1::bigint])', [id]);
    const marking = marker.harbor.mark(id, 'Error', '');
    await someoneToWait(database);
    await stop();
    await refresher.client.query('COMMIT');
    await marking;
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('stays against each of several changes that came before', async () => {
    await change('Error');
    await stop();
    await harbor.mark(id, 'Success', '');
    await refresh();
    expect(await stored()).toBe('Success');
  });
});

describe('a change of a task overwrites what the host stored by hand', () => {
  it.each(['Running', 'Success', 'Error'])(
    'when it comes later, with status %s',
    async (status) => {
      await stop();
      await harbor.mark(id, 'Success', '');
      await change(status);
      await refresh();
      expect(await stored()).toBe(
        { Running: 'Running', Success: 'Stopped', Error: 'Error' }[status],
      );
    },
  );

  it('when it was made earlier and is committed later', async () => {
    const changer = await another();
    await changer.client.query('BEGIN');
    await change('Error', changer.client);
    await harbor.mark(id, 'Success', '');
    await changer.client.query('COMMIT');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('when the host stored before it could see it, and committed after it', async () => {
    const marker = await another();
    await marker.client.query('BEGIN');
    await marker.harbor.mark(id, 'Success', '');
    await change('Error');
    await marker.client.query('COMMIT');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('when it is the later one of two in one transaction', async () => {
    await client.query('BEGIN');
    await harbor.mark(id, 'Success', '');
    await change('Error');
    await client.query('COMMIT');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('when one of several changes came later', async () => {
    await stop();
    await harbor.mark(id, 'Success', '');
    await change('Error');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('when the database was restored into a server with lower transaction numbers', async () => {
    await stop();
    await harbor.mark(id, 'Success', '');
    await database.query(
      `UPDATE tally.host_word SET stored_in = '1000000000000', snapshot = '1000000000000:1000000000000:'`,
    );
    await refresh();
    expect(await stored()).toBe('Success');
    await change('Error');
    await refresh();
    expect(await stored()).toBe('Error');
  });

  it('when its own refresh had failed for good and is retried', async () => {
    await stop();
    await harbor.mark(id, 'Success', '');
    await change('Error');
    await database.query(`UPDATE tally.outbox SET sent_at = '-infinity'`);
    await recordFailure(database, {
      executionId: id,
      vendor: 'REPLICATION',
      jobId: 'x',
      error: 'no',
      sqlState: undefined,
      attempts: 1,
      attemptMs: 0,
    });
    await refresh();
    expect(await stored()).toBe('Error');
  });
});

describe("what doesn't count as the host's word", () => {
  it("Harbor's own refresh, which may not have seen the change", async () => {
    await change('Success');
    await client.query(
      `UPDATE execution SET status = 'Success', revision = revision + 1 WHERE id = $1`,
      [id],
    );
    await refresh();
    expect(await stored()).toBe('Stopped');
  });

  it("a status that isn't final", async () => {
    await stop();
    await client.query(`UPDATE execution SET status = 'Running' WHERE id = $1`, [id]);
    await refresh();
    expect(await stored()).toBe('Stopped');
  });

  it('a status that a refresh has since overwritten', async () => {
    await stop();
    await harbor.mark(id, 'Error', '');
    await change('Running');
    await refresh();
    await client.query('ALTER TABLE task DISABLE TRIGGER USER');
    await change('Stopped');
    await client.query('ALTER TABLE task ENABLE TRIGGER USER');
    await refresh();
    expect(await stored()).toBe('Stopped');
  });
});

describe("a refresh that isn't requested by a change", () => {
  const ask = (source: 'marker' | 'api'): Promise<void> =>
    recordRefreshes(database, [refreshOf(id)], source);

  it.each(['marker', 'api'] as const)(
    'leaves a status that the host stored after the request: %s',
    async (source) => {
      await stop();
      await ask(source);
      await harbor.mark(id, 'Error', '');
      await refresh();
      expect(await stored()).toBe('Error');
    },
  );

  it.each(['marker', 'api'] as const)(
    'overwrites a status stored before the request, as Harbor would with a waiting marker: %s',
    async (source) => {
      await stop();
      await harbor.mark(id, 'Error', '');
      await ask(source);
      await refresh();
      expect(await stored()).toBe('Stopped');
    },
  );

  it('overwrites it for a row from before the upgrade, whose transaction is unknown', async () => {
    await stop();
    await database.query('UPDATE tally.outbox SET changed_in = NULL');
    await harbor.mark(id, 'Error', '');
    await refresh();
    expect(await stored()).toBe('Stopped');
  });

  it('never changes a final status that the host stored after the reconciler had looked', async () => {
    await stop();
    await database.query('DELETE FROM tally.outbox');
    const { disagreements } = await recordDisagreements(database, 0, 10);
    expect(disagreements).toHaveLength(1);
    await client.query(
      `UPDATE execution SET status = 'Success', end_time = now(), revision = revision + 1`,
    );
    await refresh();
    expect(await stored()).toBe('Success');
  });

  it('gives a final execution its end time when that is all it lacks', async () => {
    await client.query(`UPDATE task SET status = 'Error', end_time = '2026-01-02 03:04:05'`);
    await database.query('DELETE FROM tally.outbox');
    await client.query(`UPDATE execution SET status = 'Error'`);
    await recordDisagreements(database, 0, 10);
    await refresh();
    const rows = await database.query(
      `SELECT FROM execution WHERE end_time = '2026-01-02 03:04:05'`,
    );
    expect(rows).toHaveLength(1);
  });
});

it("the host's word is dropped once its execution is gone or was refreshed, and only then", async () => {
  const gone = await harbor.createExecution();
  await harbor.mark(gone, 'Success', '');
  await stop();
  await harbor.mark(id, 'Error', '');
  const last = await harbor.createExecution();
  await recordDisagreements(database, 0, 10);
  expect(await words()).toBe(2);
  await client.query('DELETE FROM execution WHERE id = $1', [gone]);
  await change('Running');
  await refresh();
  await harbor.mark(last, 'Success', '');
  await recordDisagreements(database, 0, 10);
  expect(await words()).toBe(1);
});
