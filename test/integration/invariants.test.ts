import { describe, expect, it } from 'vitest';
import { createExecution, createExecutions } from '../support/executions.ts';
import { addFailedJobs } from '../support/failed-jobs.ts';
import { expectNothingBroken, witnessRefreshes } from '../support/invariants.ts';
import { someoneToWait } from '../support/lock-waits.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const stores = await createStores({ capture: true });
const { database, redis, queue, environment } = stores;

it('what a fault has broken is named in one error: executions, waiting refreshes and jobs', async () => {
  const [right, wrong] = await createExecutions(database, 2);
  await database.query(
    `UPDATE execution SET status = 'Success', end_time = '2026-01-02 03:04:05' WHERE id = $1`,
    [right],
  );
  await database.query('DELETE FROM tally.outbox WHERE execution_id = $1', [right]);
  await addFailedJobs(stores, 1, () => ({ executionId: 4711, vendor: 'REPLICATION' }));
  const error: unknown = await expectNothingBroken({ database, queue }, 0).catch(
    (reason: unknown) => reason,
  );
  const lines = String(error).split('\n');
  expect(lines).toContain(
    `differs from its tasks: ${JSON.stringify({
      id: wrong,
      status: 'Running',
      end: null,
      revision: 0,
      statusOfTasks: 'Success',
      endOfTasks: '2026-01-02 03:04:05',
    })}`,
  );
  expect(lines.filter((line) => line.startsWith('differs'))).toHaveLength(1);
  expect(String(error)).toMatch(new RegExp(`still in the outbox: \\{"id":${wrong},`));
  expect(String(error)).toMatch(/job is failed: .*"executionId":4711.*quota of project 0/);
});

describe('a witness', async () => {
  const witness = await witnessRefreshes({ database, queue });
  const report = async () => String(await witness.verify(0).catch((reason: unknown) => reason));

  it('names the executions that were refreshed twice at once, and no others', async () => {
    const id = await createExecution(database);
    await witness.change([id]);
    await refreshTwice(id);
    expect(await report()).not.toContain('refreshed twice at once');

    await refreshWithoutLock();
    await refreshTwice(id);
    expect(await report()).toContain(
      `refreshed twice at once: ${JSON.stringify({ id, first: 3, second: 4 })}`,
    );
  });

  it.each([
    ['runs', 'active'],
    ['waits', 'wait'],
  ])('names an identity of which a second job %s', async (what, list) => {
    await witness.change([await createExecution(database)]);
    await redis.lpush(queue.toKey(list), '1:SCAN:a', '1:SCAN:b', '2:SCAN:c');
    await until('it to be named', async () =>
      (await report()).includes(`two jobs at once: 1:SCAN ${what}`),
    );
    expect(await report()).not.toContain('2:SCAN');
    await redis.del(queue.toKey(list));
  });
});

/** The second begins while the first hasn't ended yet. */
async function refreshTwice(executionId: number): Promise<void> {
  const first = await openClient(environment.DATABASE_URL);
  const second = await openClient(environment.DATABASE_URL);
  const sql = 'SELECT FROM tally.refresh_executions($1, true)';
  await first.query('BEGIN');
  await first.query(sql, [[executionId]]);
  const ended = second.query(sql, [[executionId]]);
  await someoneToWait(database);
  await first.query('COMMIT');
  await ended;
}

async function refreshWithoutLock(): Promise<void> {
  const [refresh] = await database.query<{ definition: string }>(
    `SELECT pg_get_functiondef('tally.refresh_executions'::regproc) AS definition`,
  );
  await database.query(
    refresh?.definition.replaceAll(/FOR NO KEY UPDATE( SKIP LOCKED)?/g, '') ?? '',
  );
}
