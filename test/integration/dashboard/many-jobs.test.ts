import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecution } from '../../support/executions.ts';
import { addFailedJobs } from '../../support/failed-jobs.ts';
import { newRedis } from '../../support/servers.ts';
import { MANY_CALLS_SLOW_MS, slowCommands } from '../../support/slow-log.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const WAITING = 30_000;
// BullMQ itself would remove the first 10,000 at once.
const FAILED = 12_000;
const SLOW_MS = 50;

// What is slow by its slow log is by this file.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const stores = await createStores({ redisUrl: ownRedis.url });
const { queue, redis, database } = stores;
const { url } = await serveDashboard(stores);

async function expectQuick(
  what: string,
  action: () => Promise<unknown>,
  slowMs = SLOW_MS,
): Promise<void> {
  expect(await slowCommands(redis, slowMs, action), what).toEqual([]);
}

/** How often Redis has run this command since its figures were reset. */
async function callsOf(command: string): Promise<number> {
  const stats = await redis.info('commandstats');
  return Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0);
}

// Takes a while to make so many jobs, and to retry them.
it('no page or button holds Redis for 50 ms, with 30,000 jobs waiting and 12,000 failed', async () => {
  const id = await createExecution(database);
  for (let from = 1; from <= WAITING; from += 10_000) {
    await enqueueRefreshes(
      queue,
      Array.from({ length: 10_000 }, (_, n) => ({ executionId: 1_000 + from + n, vendor: 'SCAN' })),
    );
  }
  const failMany = (): Promise<void> =>
    addFailedJobs(stores, FAILED, (n) => ({ executionId: id + n, vendor: 'REPLICATION' }));
  await failMany();

  const [waiting] = await queue.getJobs(['waiting'], WAITING / 2, WAITING / 2);
  const [failed] = await queue.getFailed(FAILED / 2, FAILED / 2);
  const paths = [
    '/',
    `/executions/${id}`,
    '/metrics',
    ...['latest', 'waiting', 'failed', 'delayed', 'active'].map(
      (status) => `/board/api/queues?activeQueue=refresh&status=${status}&page=2&jobsPerPage=50`,
    ),
    ...[waiting, failed].map(
      (job) => `/board/api/queues/refresh/${encodeURIComponent(String(job?.id))}`,
    ),
  ];
  for (const path of paths) {
    await expectQuick(path, async () => {
      expect((await fetch(`${url}${path}`)).status, path).toBe(200);
    });
  }
  // The failed jobs of one execution are found without stepping through all of them.
  await redis.config('RESETSTAT');
  await fetch(`${url}/executions/${id}`);
  expect(await redis.info('commandstats')).not.toContain('cmdstat_zscan:');

  const change = async (path: string): Promise<void> => {
    if ((await queue.getFailedCount()) === 0) await failMany();
    // What it took to make them isn't looked at.
    await redis.slowlog('RESET');
    await redis.config('RESETSTAT');
    // Refused while the end of an earlier one is still under way.
    await until('it to begin', async () => {
      const { ok } = await fetch(`${url}/board/api/queues/refresh/${path}`, { method: 'PUT' });
      return ok;
    });
    await until('no failed job to be left', async () => (await queue.getFailedCount()) === 0);
  };
  await expectQuick('retry all', () => change('retry/failed'), MANY_CALLS_SLOW_MS);
  // Fewer would be longer ones: a call adds one job, or removes some of them.
  expect(await callsOf('evalsha')).toBeGreaterThanOrEqual(FAILED);
  expect(await callsOf('eval')).toBeGreaterThanOrEqual(FAILED / 500);
  expect(await queue.getWaitingCount()).toBeGreaterThanOrEqual(WAITING + FAILED);
  await expectQuick('clean', () => change('clean/failed'), MANY_CALLS_SLOW_MS);
  expect(await callsOf('evalsha')).toBeGreaterThanOrEqual(FAILED / 500);
});
