import { beforeEach, describe, expect, it } from 'vitest';
import {
  claimExecutions,
  oldestExecutions,
  readBacklogHead,
  refreshBacklog,
  type BacklogBatch,
} from '../../../shared/postgres/backlog.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
} from '../../support/executions.ts';
import { endedOrWaits } from '../../support/lock-waits.ts';
import { failRefreshes, lockExecutions } from '../../support/sabotage.ts';
import { createStores, openClient } from '../../support/stores.ts';

const OLD_MS = 60_000;
const AFTER_MS = 1_000;

const { database, environment } = await createStores();

beforeEach(() => database.query('TRUNCATE execution, task, tally.outbox'));

/** Records a refresh of each, the first one the oldest. */
async function recordOld(ids: readonly number[], oldMs = OLD_MS): Promise<void> {
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, due_at, created_at)
     SELECT id, 'SCAN', 'api', at, at
       FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, n),
            LATERAL (SELECT clock_timestamp() - ($2 - n * 0.001) * interval '1 millisecond') AS due (at)`,
    [ids, oldMs],
  );
}

async function refreshedOf(ids: readonly number[]): Promise<number[]> {
  const executions = await Promise.all(ids.map((id) => readExecution(database, id)));
  return ids.filter((_id, n) => executions[n]?.revision === 1);
}

function drain(limit = 500): Promise<BacklogBatch> {
  return refreshBacklog(database, limit, AFTER_MS, undefined);
}

function outcomes({ groups }: BacklogBatch): Record<string, number> {
  return Object.fromEntries(groups.map(({ outcome, lagsMs }) => [outcome, lagsMs.length]));
}

describe('tally.refresh_backlog', () => {
  it('refreshes the oldest first, and deletes their rows', async () => {
    const ids = await createExecutions(database, 5);
    await recordOld(ids.toReversed());
    const batch = await drain(2);
    expect(batch.groups).toMatchObject([{ vendor: 'SCAN', outcome: 'changed', source: 'api' }]);
    expect(batch.groups[0]?.lagsMs).toHaveLength(2);
    expect(batch.groups[0]?.lagsMs.every((lagMs) => (lagMs ?? 0) >= OLD_MS - 1)).toBe(true);
    expect(await outboxRows(database)).toBe(3);
    expect(await refreshedOf(ids)).toEqual(ids.slice(3));
  });

  it('refreshes an execution once, however many rows ask for it', async () => {
    const id = await createExecution(database);
    await recordOld([id, id, id]);
    // The third row isn't among the two that were looked at, and is fulfilled all the same.
    expect(outcomes(await drain(2))).toEqual({ changed: 1 });
    expect(await outboxRows(database)).toBe(0);
    expect(await readExecution(database, id)).toMatchObject({ revision: 1 });
  });

  it('leaves rows that are fresh, not yet due, or sent', async () => {
    const ids = await createExecutions(database, 3);
    await recordOld(ids.slice(0, 1), 0);
    await recordOld(ids.slice(1, 2), -OLD_MS);
    await recordOld(ids.slice(2));
    await database.query('UPDATE tally.outbox SET sent_at = now() WHERE execution_id = $1', [
      ids[2],
    ]);
    // A busy machine may take longer than AFTER_MS from the fresh row to this.
    const batch = await refreshBacklog(database, 500, OLD_MS / 2, undefined);
    expect(batch.groups).toEqual([]);
    expect(await outboxRows(database)).toBe(3);
  });

  it('reports the outcome of each execution, and leaves those that are locked', async () => {
    const [held = 0, done = 0] = await createExecutions(database, 2);
    const empty = await createExecution(database, []);
    await recordOld([held, done, empty, 999_999_999]);
    const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
    const batch = await drain();
    await unlock();
    expect(outcomes(batch)).toEqual({ busy: 1, changed: 1, no_tasks: 1, missing: 1 });
    expect(batch.groups.flatMap(({ busyIds }) => busyIds)).toEqual([held]);
    expect(await outboxRows(database)).toBe(1);
    const { identities, rowIds } = await claimExecutions(database, [held]);
    expect(identities).toEqual([{ executionId: held, vendor: 'SCAN' }]);
    expect(rowIds).toHaveLength(1);
    expect((await drain()).groups).toEqual([]);
  });

  it("lets two callers share the backlog: one takes what the other hasn't locked", async () => {
    const ids = await createExecutions(database, 4);
    await recordOld(ids);
    const other = await openClient(environment.DATABASE_URL);
    await other.query('BEGIN');
    await other.query(`SELECT * FROM tally.refresh_backlog(2, $1, '-infinity')`, [AFTER_MS]);
    const draining = drain();
    expect(await endedOrWaits(database, draining)).toBe('ended');
    await other.query('COMMIT');
    expect(outcomes(await draining)).toEqual({ changed: 2 });
    expect(await outboxRows(database)).toBe(0);
    for (const id of ids) expect(await readExecution(database, id)).toMatchObject({ revision: 1 });
  });

  it('a batch in which one execution fails changes nothing, and its rows can be claimed', async () => {
    const ids = await createExecutions(database, 3);
    await recordOld(ids);
    const failure = await failRefreshes(database, 'poison', { ids: ids.slice(1, 2) });
    await expect(drain()).rejects.toThrow('poison');
    await failure.end();
    expect(await outboxRows(database)).toBe(3);
    const oldest = await oldestExecutions(database, 2, AFTER_MS, undefined);
    expect(oldest.toSorted((a, b) => a - b)).toEqual(ids.slice(0, 2));
    // With all its rows, also those that lie further back.
    await recordOld(ids.slice(0, 1), OLD_MS / 2);
    expect((await claimExecutions(database, oldest)).rowIds).toHaveLength(3);
    expect(outcomes(await drain())).toEqual({ changed: 1 });
  });

  it('20,000 rows are claimed at most, of each execution an equal share', async () => {
    const [many = 0, few = 0] = await createExecutions(database, 2);
    await recordOld(Array.from({ length: 20_005 }, () => many));
    await recordOld([few]);
    const { identities, rowIds } = await claimExecutions(database, [many, few]);
    expect(identities).toHaveLength(2);
    expect(rowIds).toHaveLength(10_001);
  });

  it('the head of the backlog is its oldest row', async () => {
    expect(await readBacklogHead(database, AFTER_MS, undefined)).toBeUndefined();
    const ids = await createExecutions(database, 2);
    await recordOld(ids);
    const head = await readBacklogHead(database, AFTER_MS, undefined);
    const [oldest] = await database.query<{ id: number }>(
      'SELECT id FROM tally.outbox WHERE execution_id = $1',
      [ids[0]],
    );
    expect(head?.rowId).toBe(oldest?.id);
  });

  it('a session planned on an empty outbox reads one batch of a full one, not all of it', async () => {
    const client = await openClient(environment.DATABASE_URL);
    for (const table of ['tally.outbox', 'tally.failure', 'execution', 'task']) {
      await client.query(`VACUUM ANALYZE ${table}`);
    }
    const call = (limit: number): Promise<unknown> =>
      client.query(`SELECT * FROM tally.refresh_backlog($1, $2, '-infinity')`, [limit, AFTER_MS]);
    // Postgres keeps a plan from the sixth call on.
    for (let n = 0; n < 10; n++) await call(100);
    await recordOld(await createExecutions(database, 20_000));
    await client.query('SELECT pg_stat_force_next_flush()');
    await client.query('BEGIN');
    await call(100);
    const { rows } = await client.query<{ name: string; scanned: number; fetched: number }>(
      `SELECT relname AS name, seq_tup_read::int AS scanned, idx_tup_fetch::int AS fetched
         FROM pg_stat_xact_user_tables WHERE relname IN ('outbox', 'execution', 'task')`,
    );
    await client.query('COMMIT');
    for (const { name, scanned, fetched } of rows) {
      expect({ name, scanned }).toEqual({ name, scanned: 0 });
      expect(fetched, `rows of ${name} read by index`).toBeLessThan(1_500);
    }
    expect(rows).toHaveLength(3);
  });
});
