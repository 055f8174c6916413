import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../../shared/refresh-queue.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecutions } from '../../support/executions.ts';
import { addFailedJobs } from '../../support/failed-jobs.ts';
import { createStores } from '../../support/stores.ts';

const WAITING = 50_000;
const FAILED = 20_000;
const SLOW_MICROSECONDS = 50_000;

const stores = await createStores();
const { queue, redis, database } = stores;
const { url } = await serveDashboard(stores);

// The server is shared with the other files, which run one after the other.
const [, before = '10000'] = await redis.config('GET', 'slowlog-log-slower-than');
afterAll(() => redis.config('SET', 'slowlog-log-slower-than', before));

async function slowCommands(): Promise<string[]> {
  const entries = (await redis.slowlog('GET', 20)) as [number, number, number, string[]][];
  return entries.map(
    ([, , microseconds, command]) => `${microseconds} µs: ${command.join(' ').slice(0, 100)}`,
  );
}

// Takes a while to make so many jobs, and to retry them.
it('with 50,000 jobs waiting and 20,000 failed, no page and no button holds Redis for more than 50 ms', async () => {
  const [id = 0] = await createExecutions(database, 1);
  for (let from = 1; from <= WAITING; from += 10_000) {
    await enqueueRefreshes(
      queue,
      Array.from({ length: 10_000 }, (_, n) => ({ executionId: 1_000 + from + n, vendor: 'SCAN' })),
    );
  }
  await addFailedJobs(stores, FAILED, (n) => ({ executionId: id + n, vendor: 'REPLICATION' }));
  await redis.config('SET', 'slowlog-log-slower-than', SLOW_MICROSECONDS);
  await redis.slowlog('RESET');

  const [waiting] = await queue.getJobs(['waiting'], 25_000, 25_000);
  const [failed] = await queue.getFailed(15_000, 15_000);
  const paths = [
    '/overview',
    `/executions/${id}`,
    '/metrics',
    ...['latest', 'waiting', 'failed', 'delayed', 'active'].map(
      (status) => `/api/queues?activeQueue=refresh&status=${status}&page=2&jobsPerPage=50`,
    ),
    ...[waiting, failed].map((job) => `/api/queues/refresh/${encodeURIComponent(String(job?.id))}`),
  ];
  for (const path of paths) expect((await fetch(`${url}${path}`)).status, path).toBe(200);
  expect(await slowCommands()).toEqual([]);

  // Retried in pages, then removed in pages.
  const retried = await fetch(`${url}/api/queues/refresh/retry/failed`, { method: 'PUT' });
  expect(await retried.json()).toEqual({ retried: FAILED, skipped: 0 });
  expect(await queue.getWaitingCount()).toBe(WAITING + FAILED);
  await addFailedJobs(stores, FAILED, (n) => ({ executionId: id + n, vendor: 'REPLICATION' }));
  await fetch(`${url}/api/queues/refresh/clean/failed`, { method: 'PUT' });
  expect(await queue.getFailedCount()).toBe(0);
  expect(await slowCommands()).toEqual([]);
});
