import { afterAll, expect, inject, it } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { createExecutions, refreshesOf, untilOutboxIsEmpty } from '../support/executions.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const proxy = await openProxy(inject('redisUrl'));
afterAll(() => proxy.close());
// Locks that outlast the test: nothing but the worker itself can give its jobs back.
const { database, queue, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    LOCK_DURATION_MS: '600000',
    // Jobs of the other lane name no execution.
    BACKLOG_JOBS: '0',
  },
});

it('jobs whose delivery to the worker was lost are done at once, not when their locks expire', async () => {
  const worker = await startWorker({
    ...environment,
    REDIS_URL: proxy.through(inject('redisUrl')),
  });
  await startProducer(environment);
  const ids = await createExecutions(database, 500);
  const refreshes = refreshesOf(ids);
  let lost = 0;
  proxy.watch = (chunk, from) => {
    if (from !== 'server' || lost === 3 || !chunk.includes('"executionId"')) return;
    lost++;
    proxy.reset();
  };
  await recordRefreshes(database, refreshes, 'api');
  await untilOutboxIsEmpty(database);
  expect(lost).toBe(3);
  await worker.said(/put \d+ jobs back on the queue whose answers were lost/);
  // Also when the next connection is lost while they are put back.
  for (let round = 0; round < 5; round++) {
    await recordRefreshes(database, refreshes, 'api');
    await until('jobs to be active', async () => (await queue.getActiveCount()) > 0);
    proxy.reset();
  }
  await untilOutboxIsEmpty(database);
  await until('nothing to be active', async () => (await queue.getActiveCount()) === 0);
  expect(await queue.getFailedCount()).toBe(0);
});
