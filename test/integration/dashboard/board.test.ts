import { expect, it } from 'vitest';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { boardRoutes, serveDashboard } from '../../support/dashboard.ts';
import { createExecution, refreshOf } from '../../support/executions.ts';
import { addFailedJobs } from '../../support/failed-jobs.ts';
import { openWorker } from '../../support/in-process.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1' } });
const { queue, database, environment } = stores;
const { url } = await serveDashboard(stores);

async function change(method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(`${url}/board/api/queues/${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

it('these routes of Bull Board are refused, and so is any that a later version adds', async () => {
  const refused: string[] = [];
  for (const { method, route } of boardRoutes()) {
    if (method === 'get') continue;
    const path = route
      .replace('/api/queues/', '')
      .replace(':queueName', 'refresh')
      .replace(':jobId', 'nothing')
      .replace(':queueStatus', 'active')
      .replace(':schedulerId', 'any');
    const response = await change(method.toUpperCase(), path, {});
    const text = await response.text();
    if (text.includes('Tally refuses this')) {
      expect(response.status).toBe(403);
      refused.push(route.replace('/api/queues/', ''));
    }
  }
  await queue.resume();
  expect(refused.toSorted()).toEqual(
    [
      ':queueName/:jobId/delay',
      ':queueName/:jobId/priority',
      ':queueName/:jobId/remove-unprocessed-children',
      ':queueName/:jobId/update-data',
      ':queueName/clean/:queueStatus',
      ':queueName/concurrency',
      ':queueName/empty',
      ':queueName/job-schedulers/:schedulerId',
      ':queueName/job-schedulers/:schedulerId/remove',
      ':queueName/job-schedulers/:schedulerId/run',
      ':queueName/obliterate',
      ':queueName/rate-limit',
    ].toSorted(),
  );
});

it('removing a waiting job is refused with the reason; a failed one can be removed', async () => {
  await enqueueRefreshes(queue, [{ executionId: 1, vendor: 'SCAN' }]);
  const [job] = await queue.getWaiting();
  const response = await change('PUT', `refresh/${encodeURIComponent(String(job?.id))}/clean`);
  expect(response.status).toBe(403);
  expect(await response.text()).toContain('only failed jobs can be removed');
  expect(await queue.getWaitingCount()).toBe(1);
  await addFailedJobs(stores, 1, () => ({ executionId: 2, vendor: 'SCAN' }));
  const [failed] = await queue.getFailed();
  const removed = await change('PUT', `refresh/${encodeURIComponent(String(failed?.id))}/clean`);
  expect(removed.status).toBe(204);
  expect(await queue.getFailedCount()).toBe(0);
  await queue.drain();
});

it.each([
  ['nothing', undefined],
  ['a string', 'text'],
  ['no vendor', { executionId: 1, vendor: '' }],
  ['an id of the wrong kind', { executionId: '1', vendor: 'SCAN' }],
])('"Add job" with %s for data answers 400 and adds nothing', async (_what, data) => {
  const response = await change('POST', 'refresh/add', { name: 'x', data, options: {} });
  expect(response.status).toBe(400);
  expect(await queue.getWaitingCount()).toBe(0);
});

it('"Add job" ignores options that would let a job run beside its twin', async () => {
  const data = { executionId: 4, vendor: 'SCAN' };
  const options = { jobId: 'mine:own:id', deduplication: { id: 'another' }, delay: 100_000 };
  await change('POST', 'refresh/add', { name: 'x', data, options });
  await change('POST', 'refresh/add', { name: 'y', data, options });
  const jobs = await queue.getJobs(['waiting', 'delayed']);
  expect(jobs.map((job) => job.opts.deduplication?.id)).toEqual(['4:SCAN']);
  await queue.drain();
});

it('"Retry all" of five failures of one identity causes one run, and leaves what isn\'t a refresh', async () => {
  const id = await createExecution(database);
  await addFailedJobs(stores, 5, () => refreshOf(id));
  // More than a page of them, and older: they must not be in the way.
  await addFailedJobs(stores, 600, () => ({ nothing: true }));
  await addFailedJobs(stores, 5, () => refreshOf(id));
  expect((await change('PUT', 'refresh/retry/failed')).status).toBeLessThan(300);
  await until('the retry to end', async () => {
    const text = await (await fetch(`${url}/failures`)).text();
    return /Asked for 10 refreshes\. 600 failed jobs are no refresh/.test(
      text.replaceAll(/\s+/g, ' '),
    );
  });
  expect(await queue.getFailedCount()).toBe(600);
  expect((await queue.getWaiting()).map((job) => job.data)).toEqual([refreshOf(id)]);
  await openWorker(environment);
  await until('the queue to be empty', async () => (await queue.getWaitingCount()) === 0);
  await until('the run to end', async () => (await queue.getActiveCount()) === 0);
  const [row] = await database.query<{ revision: number }>(
    'SELECT revision FROM execution WHERE id = $1',
    [id],
  );
  expect(row?.revision).toBe(1);
  expect((await change('PUT', 'refresh/clean/failed')).status).toBe(200);
  expect(await queue.getFailedCount()).toBe(0);
});
