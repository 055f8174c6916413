import { expect, it } from 'vitest';
import { readActivity } from '../../../shared/queue/activity.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { listWorkers } from '../../../dashboard/overview/worker-list.ts';
import { createExecutions, refreshesOf } from '../../support/executions.ts';
import { openWorker } from '../../support/in-process.ts';
import { startWorker } from '../../support/processes.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { database, redis, queue, config, environment } = await createStores({
  settings: {
    WORKER_CONCURRENCY: '17',
  },
});

// Takes up to twelve seconds: a history of ten seconds is told when they are over.
it('the dashboard knows what two workers did and that they live, until that is too old', async () => {
  const workers = [await startWorker(environment), await startWorker(environment)];
  const ids = await createExecutions(database, 30);
  const identities = refreshesOf(ids);
  await recordRefreshes(database, identities, 'api');
  await enqueueRefreshes(queue, identities);
  const online = await until('both to show themselves', async () => {
    const list = await listWorkers(queue, redis, config);
    return list.filter(({ concurrency }) => concurrency === 17).length === 2 ? list : undefined;
  });
  expect(
    online.map(({ name }) => Number(name.split(':').at(-1))).toSorted((a, b) => a - b),
  ).toEqual(workers.map(({ pid }) => pid).toSorted((a, b) => a - b));
  const history = await until('the history to have all of it', async () => {
    const points = await readActivity(redis, config);
    return points.reduce((sum, { refreshed }) => sum + refreshed, 0) === 30 ? points : undefined;
  });
  expect(history).toHaveLength(360);
  expect(history.reduce((sum, { failed }) => sum + failed, 0)).toBe(0);
  const told = history.filter(({ refreshed }) => refreshed > 0);
  for (const { lagMsP50, lagMsP99 } of told) {
    expect(lagMsP50).toBeGreaterThan(0);
    expect(lagMsP99).toBeGreaterThanOrEqual(lagMsP50 ?? 0);
  }
  const keys = (await redis.keys(`${config.QUEUE_PREFIX}:refresh-*`)).toSorted();
  expect(keys.length).toBeGreaterThanOrEqual(3);
  for (const key of keys) expect(await redis.ttl(key), key).toBeGreaterThan(0);
});

it("a worker that ends reports what it hasn't reported yet", async () => {
  const worker = await openWorker(environment);
  const ids = await createExecutions(database, 5);
  const before = (await allCounts()).refreshed;
  await enqueueRefreshes(queue, refreshesOf(ids));
  await until('all five to be done', () => {
    const done = worker.lines.map((line) => Number(/"refreshed":(\d+)/.exec(line)?.[1] ?? 0));
    return done.reduce((sum, count) => sum + count, 0) === 5;
  });
  await worker.stop();
  expect((await allCounts()).refreshed).toBe(before + 5);
});

async function allCounts(): Promise<{ refreshed: number }> {
  let refreshed = 0;
  for (const key of await redis.keys(`${config.QUEUE_PREFIX}:refresh-activity:*`)) {
    refreshed += Number((await redis.hget(key, 'refreshed')) ?? 0);
  }
  return { refreshed };
}
