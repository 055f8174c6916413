import type { Client } from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createExecutions, readExecution } from '../support/executions.ts';
import { expectNothingBroken, witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { allSettled } from '../support/settled.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

// The reconciler is off, so that it can't hide a hole.
const { config, database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const databaseUrl = config.DATABASE_URL;

const witness = await witnessRefreshes({ database, queue });

beforeEach(async () => {
  await startProducer(environment);
  await startWorker(environment);
  await startWorker(environment);
});

afterEach(async () => {
  await database.query('TRUNCATE execution, task, ledger, tally.outbox');
});

async function quiet(): Promise<void> {
  await until('outbox and queue to be empty', () => allSettled({ queue, database }));
}

const any = (ids: readonly number[]): number => ids[Math.floor(Math.random() * ids.length)] ?? 0;

/** As the host refreshes an execution by itself: read its revision, then write if nobody else has. */
async function refreshAsTheHost(client: Client, id: number): Promise<boolean> {
  const { rows } = await client.query<{ revision: number }>(
    'SELECT revision FROM execution WHERE id = $1',
    [id],
  );
  const [seen] = rows;
  if (seen === undefined) return true;
  const { rows: running } = await client.query(
    `SELECT FROM task WHERE execution_id = $1 AND status IN ('Pending', 'Running', 'Scheduled')`,
    [id],
  );
  const { rowCount } = await client.query(
    `UPDATE execution SET revision = revision + 1, status = $3::text,
            end_time = CASE WHEN $3::text = 'Running' THEN NULL ELSE
              (SELECT max(end_time) FROM task WHERE execution_id = $1) END
      WHERE id = $1 AND revision = $2`,
    [id, seen.revision, running.length > 0 ? 'Running' : 'Stopped'],
  );
  return rowCount === 1;
}

it('a host that stops, inserts and sweeps in parallel is never blocked, and no disagreement is left', async () => {
  const fault = injectFault(
    31,
    'stops, inserts and sweeps by the host in three transactions at once',
  );
  const ids = await createExecutions(database, 300, ['Running', 'Running']);
  const swept = await createExecutions(database, 200, ['Success', 'Running']);
  const [stopper, inserter, sweeper] = await Promise.all(
    [1, 2, 3].map(() => openClient(databaseUrl)),
  );
  if (!stopper || !inserter || !sweeper) throw new Error('no clients');
  const deadlocks = async (): Promise<number> => {
    const [row] = await database.query<{ deadlocks: number }>(
      'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
    );
    return row?.deadlocks ?? 0;
  };
  const deadlocksBefore = await deadlocks();

  const stop = async (): Promise<void> => {
    for (let n = 0; n < 150; n++) {
      const id = any(ids);
      await stopper.query('BEGIN');
      await stopper.query(
        `UPDATE task SET status = 'Stopped', end_time = clock_timestamp() WHERE execution_id = $1`,
        [id],
      );
      await stopper.query('COMMIT');
      // The host tries again when another was faster.
      for (let tries = 0; tries < 20 && !(await refreshAsTheHost(stopper, id)); tries++);
    }
  };
  const insert = async (): Promise<void> => {
    await inserter.query(`SET lock_timeout = '1s'`);
    for (let n = 0; n < 300; n++) {
      await inserter.query(
        `INSERT INTO task (execution_id, status, status_code, vendor_type, end_time)
         VALUES ($1, $2, 3, 'REPLICATION', clock_timestamp())`,
        [any(ids), n % 2 === 0 ? 'Running' : 'Success'],
      );
    }
  };
  const sweep = async (): Promise<void> => {
    for (let from = 0; from < swept.length; from += 20) {
      const some = swept.slice(from, from + 20);
      // Touched first, so that their refreshes are on the way while they go.
      await sweeper.query(`UPDATE task SET status = 'Error' WHERE execution_id = ANY ($1)`, [some]);
      await sweeper.query('DELETE FROM task WHERE execution_id = ANY ($1)', [some]);
      await sweeper.query('DELETE FROM execution WHERE id = ANY ($1)', [some.toReversed()]);
    }
  };
  await Promise.all([stop(), insert(), sweep()]);
  fault.over();
  await quiet();
  fault.recovered();

  await expectNothingBroken({ database, queue });
  expect(await deadlocks()).toBe(deadlocksBefore);
  const left = await database.query('SELECT FROM execution');
  expect(left).toHaveLength(ids.length);
  // Not only never down: whoever refreshes counts.
  const same = await database.query('SELECT * FROM revision_history WHERE after = before');
  expect(same).toEqual([]);
  // The witness reads from an execution's end what its refresh has seen.
  await database.query(`UPDATE task SET status = 'Stopped', end_time = '2026-01-01'`);
  await witness.change(ids);
  await witness.verify();
});

it('a change in a long transaction is refreshed once it commits, and not if it rolls back', async () => {
  const fault = injectFault(
    24,
    'a change whose transaction stays open beyond the look-back of the relay',
  );
  const [late = 0, undone = 0, other = 0] = await createExecutions(database, 3, ['Running']);
  await quiet();
  const revisions = (): Promise<number[]> =>
    Promise.all(
      [late, undone].map(async (id) => (await readExecution(database, id)).revision ?? 0),
    );
  const before = await revisions();
  const [open, rolledBack] = [await openClient(databaseUrl), await openClient(databaseUrl)];
  for (const [client, id] of [
    [open, late],
    [rolledBack, undone],
  ] as const) {
    await client.query('BEGIN');
    await client.query(`UPDATE task SET status = 'Success' WHERE execution_id = $1`, [id]);
    // As if it had been open for longer than the 2 s that the relay looks back.
    await client.query(
      `UPDATE tally.outbox SET due_at = due_at - interval '3 seconds' WHERE execution_id = $1`,
      [id],
    );
  }
  // Later changes overtake both.
  for (let n = 0; n < 6; n++) {
    const status = n % 2 === 0 ? 'Success' : 'Running';
    await database.query('UPDATE task SET status = $2 WHERE execution_id = $1', [other, status]);
    await until(
      'the other to be refreshed',
      async () => (await readExecution(database, other)).status === status,
    );
  }
  expect(await revisions()).toEqual(before);
  await rolledBack.query('ROLLBACK');
  fault.over();
  await open.query('COMMIT');
  await until(
    'it to be refreshed',
    async () => (await readExecution(database, late)).status === 'Success',
  );
  fault.recovered();
  await quiet();
  expect(await revisions()).toEqual([(before[0] ?? 0) + 1, before[1]]);
  expect((await readExecution(database, undone)).status).toBe('Running');
  await expectNothingBroken({ database, queue });
});
