import { beforeEach, expect, it } from 'vitest';
import { countFailures, recordFailure } from '../../../../shared/postgres/failures.ts';
import { settleFailures } from '../../../../shared/postgres/settled-failures.ts';
import { createExecution, createExecutions, refreshOf } from '../../../support/executions.ts';
import { someoneToWait } from '../../../support/lock-waits.ts';
import { createStores, openClient } from '../../../support/stores.ts';

const { database, environment } = await createStores({ capture: true });

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure, tally.host_word');
});

async function fail(...ids: readonly number[]): Promise<void> {
  for (const id of ids) {
    await recordFailure(database, {
      ...refreshOf(id),
      jobId: `${id}:REPLICATION:x`,
      error: 'refused',
      sqlState: undefined,
      attempts: 1,
      attemptMs: 0,
    });
  }
}

/** Stores what the tasks say, as the host's own refresh does. */
async function putRight(id: number): Promise<void> {
  await database.query(
    `UPDATE execution e SET status = r.status, end_time = r.end_time, revision = e.revision + 1
       FROM tally.rollup(ARRAY[$1::bigint]) r WHERE e.id = r.execution_id`,
    [id],
  );
}

const settle = (): ReturnType<typeof settleFailures> => settleFailures(database, '', 100);

it('one that is still wrong stands, whichever part of it is', async () => {
  const [status = 0, end = 0, marked = 0] = await createExecutions(database, 3);
  await fail(status, end, marked);
  await database.query(`UPDATE execution SET status = 'Success', revision = 1 WHERE id = $1`, [
    end,
  ]);
  // Nobody recorded it as the host's word: that was before capture, for example.
  await database.query(`UPDATE execution SET status = 'Error', revision = 1 WHERE id = $1`, [
    marked,
  ]);
  expect(await settle()).toEqual({ settled: 0, next: undefined });
  expect(await countFailures(database)).toBe(3);
});

it.each([
  ['its status is what its tasks say, whoever stored it', putRight],
  [
    'its tasks went back to what is stored',
    (id: number) =>
      database.query(`UPDATE task SET status = 'Running' WHERE execution_id = $1`, [id]),
  ],
  [
    'the host stored a final status by hand, which a refresh keeps',
    (id: number) => database.query(`UPDATE execution SET status = 'Error' WHERE id = $1`, [id]),
  ],
  [
    'its tasks are gone, so that a refresh writes nothing',
    (id: number) => database.query('DELETE FROM task WHERE execution_id = $1', [id]),
  ],
  [
    'it was deleted',
    (id: number) =>
      database.query(
        `WITH t AS (DELETE FROM task WHERE execution_id = $1) DELETE FROM execution WHERE id = $1`,
        [id],
      ),
  ],
])('one is settled when %s', async (_when, change) => {
  const [id = 0, other = 0] = await createExecutions(database, 2);
  await fail(id, other);
  await change(id);
  expect(await settle()).toEqual({ settled: 1, next: undefined });
  const standing = await database.query(
    'SELECT execution_id AS id FROM tally.failure WHERE NOT refreshed',
  );
  expect(standing).toEqual([{ id: other }]);
});

it("the host's word no longer settles one that a later change of a task made wrong", async () => {
  const id = await createExecution(database);
  await database.query(`UPDATE execution SET status = 'Error' WHERE id = $1`, [id]);
  await database.query(`UPDATE task SET status = 'Stopped' WHERE execution_id = $1`, [id]);
  await database.query('UPDATE tally.outbox SET sent_at = clock_timestamp()');
  await fail(id);
  expect(await settle()).toMatchObject({ settled: 0 });
});

it('one whose job fails again while it is compared stands', async () => {
  const id = await createExecution(database);
  await fail(id);
  await putRight(id);
  const again = await openClient(environment.DATABASE_URL);
  await again.query('BEGIN');
  await again.query('UPDATE tally.failure SET failed_at = clock_timestamp()');
  const settling = settle();
  await someoneToWait(database);
  await again.query('COMMIT');
  expect(await settling).toMatchObject({ settled: 0 });
  expect(await countFailures(database)).toBe(1);
});

it('pages reach every record once', async () => {
  const ids = await createExecutions(database, 250);
  await fail(...ids);
  for (const id of ids.slice(100)) await putRight(id);
  let settled = 0;
  let pages = 0;
  for (let after: string | undefined = ''; after !== undefined; pages++) {
    const page: Awaited<ReturnType<typeof settleFailures>> = await settleFailures(
      database,
      after,
      100,
    );
    settled += page.settled;
    after = page.next;
  }
  expect({ settled, pages }).toEqual({ settled: 150, pages: 3 });
  expect(await countFailures(database)).toBe(100);
});
