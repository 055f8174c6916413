import { beforeEach, expect, it } from 'vitest';
import { OutboxCursor } from '../../../shared/postgres/outbox-cursor.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { withSettings } from '../../../shared/process/config.ts';
import { enqueueRefreshes, type RefreshQueue } from '../../../shared/queue/refresh-queue.ts';
import { drainBacklog, type BacklogRun } from '../../../workers/backlog-job.ts';
import { createExecutions, outboxRows, refreshOf, refreshesOf } from '../../support/executions.ts';
import { failRefreshes, lockExecutions } from '../../support/sabotage.ts';
import { createStores } from '../../support/stores.ts';
import { withMethod } from '../../support/with-method.ts';

const stores = await createStores();
const { database, queue, environment } = stores;
const config = withSettings(stores.config, { QUEUE_HIGH_WATER: 5 });

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox');
});

/** Executions whose refreshes were recorded an hour ago. */
async function createOld(count: number): Promise<number[]> {
  const ids = await createExecutions(database, count);
  await recordRefreshes(database, refreshesOf(ids), 'api');
  await database.query(`UPDATE tally.outbox SET due_at = due_at - interval '1 hour'`);
  return ids;
}

function drain(expressQueue: RefreshQueue = queue): Promise<BacklogRun> {
  return drainBacklog(
    {
      config,
      database,
      cursor: new OutboxCursor(),
      probe: () => Promise.resolve(),
      queue: expressQueue,
      onBatch: () => undefined,
    },
    new AbortController().signal,
    () => Promise.resolve(),
  );
}

async function queued(): Promise<number[]> {
  const jobs = await queue.getJobs(['waiting']);
  return jobs.map(({ data }) => data.executionId).toSorted((a, b) => a - b);
}

async function sentRows(): Promise<number> {
  return (await database.query('SELECT FROM tally.outbox WHERE sent_at IS NOT NULL')).length;
}

it('executions that another transaction holds are handed to the express lane, and the rest is refreshed', async () => {
  const [held = 0] = await createOld(3);
  const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
  expect(await drain()).toMatchObject({
    kind: 'done',
    figures: { refreshed: 2, changed: 2, handedOver: 1 },
  });
  await unlock();
  expect(await queued()).toEqual([held]);
  expect([await outboxRows(database), await sentRows()]).toEqual([1, 1]);
});

it('a batch in which one execution fails is handed to the express lane, which finds it', async () => {
  const ids = await createOld(3);
  await failRefreshes(database, 'no', { ids: ids.slice(1, 2) });
  expect(await drain()).toMatchObject({ kind: 'done', figures: { refreshed: 0, handedOver: 3 } });
  expect(await queued()).toEqual(ids);
  expect([await outboxRows(database), await sentRows()]).toEqual([3, 3]);
});

it("rows stay in the backlog if Redis doesn't take their jobs", async () => {
  const [held = 0] = await createOld(1);
  const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
  const addBulk: RefreshQueue['addBulk'] = () => Promise.reject(new Error('OOM'));
  const run = await drain(withMethod(queue, { addBulk }));
  await unlock();
  expect(run).toMatchObject({ kind: 'done', figures: { handedOver: 0 } });
  expect([await outboxRows(database), await sentRows()]).toEqual([1, 0]);
});

it('rows stay in the backlog while the express lane is full', async () => {
  const [held = 0] = await createOld(1);
  const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
  // Twice as many jobs as the relay would send.
  await enqueueRefreshes(
    queue,
    Array.from({ length: 10 }, (_none, n) => refreshOf(1_000_000 + n)),
  );
  const run = await drain();
  await unlock();
  expect(run).toMatchObject({ kind: 'done', figures: { handedOver: 0 } });
  expect(await queued()).toHaveLength(10);
  expect([await outboxRows(database), await sentRows()]).toEqual([1, 0]);
});
