import { expect, it } from 'vitest';
import { removeFailed } from '../../../../shared/queue/failed-jobs.ts';
import { enqueueRefreshes } from '../../../../shared/queue/refresh-queue.ts';
import { createExecutions, refreshesOf, refreshOf } from '../../../support/executions.ts';
import { openWorker } from '../../../support/in-process.ts';
import { failRefreshes } from '../../../support/sabotage.ts';
import { createStores } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1' } });
const { config, database, redis, queue, environment } = stores;

it("removing in bulk leaves what BullMQ's own removal of a job leaves", async () => {
  await failRefreshes(database);
  const worker = await openWorker(environment);
  const ids = await createExecutions(database, 3);
  await enqueueRefreshes(queue, refreshesOf(ids));
  await until('all to fail', async () => (await queue.getFailedCount()) === 3);
  await worker.stop();
  const failed = await queue.getFailed();
  const [single = '', bulk = '', other = ''] = ids.map(
    (id) => failed.find(({ data }) => data.executionId === id)?.id,
  );
  /** What a removal does to the keys, and its event, without the job's id. */
  const effectOf = async (jobId: string, remove: () => Promise<number>): Promise<unknown> => {
    const keys = (): Promise<string[]> => redis.keys(`${config.QUEUE_PREFIX}:*`);
    const before = await keys();
    expect(await remove()).toBe(1);
    const after = await keys();
    const [newest] = await redis.xrevrange(queue.toKey('events'), '+', '-', 'COUNT', 1);
    return {
      gone: before.filter((key) => !after.includes(key)).map((key) => key.replace(jobId, '<id>')),
      come: after.filter((key) => !before.includes(key)),
      event: newest?.[1].map((text) => text.replace(jobId, '<id>')),
    };
  };
  const byBullmq = await effectOf(single, () => queue.remove(single));
  expect(byBullmq).toMatchObject({ gone: [queue.toKey('<id>')] });
  expect(await effectOf(bulk, () => removeFailed(stores, ['no such job', bulk]))).toEqual(byBullmq);

  // A newer job of the same identity waits: it stays, and stays the only one.
  const identity = refreshOf(ids[2] ?? 0);
  await enqueueRefreshes(queue, [identity]);
  const [newer] = await queue.getWaiting();
  expect(await removeFailed(stores, [other, newer?.id ?? ''])).toBe(1);
  await enqueueRefreshes(queue, [identity]);
  expect((await queue.getWaiting()).map(({ id }) => id)).toEqual([newer?.id]);
});
