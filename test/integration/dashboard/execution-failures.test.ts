import { beforeEach, expect, it } from 'vitest';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecution, refreshOf } from '../../support/executions.ts';
import { createFailedJobs } from '../../support/failed-jobs.ts';
import { createStores } from '../../support/stores.ts';

const stores = await createStores();
const { database, queue, redis } = stores;
const { url } = await serveDashboard(stores);

interface Answer {
  readonly state: string;
  readonly failure: { readonly jobId: string; readonly times: number } | null;
  readonly queue: { readonly failed: readonly { readonly jobId: string }[] };
}

async function ask(id: number): Promise<Answer> {
  const response = await fetch(`${url}/executions/${id}`, {
    headers: { accept: 'application/json' },
  });
  return (await response.json()) as Answer;
}

const jobIdsOf = ({ queue: { failed } }: Answer): string[] => failed.map(({ jobId }) => jobId);

let id = 0;
let [first, second, unrecorded] = ['', '', ''];

/** An execution failed three times; the last failure could not be recorded. */
beforeEach(async () => {
  id = await createExecution(database);
  [first = '', second = '', unrecorded = ''] = ['a', 'b', 'c'].map(
    (end) => `${id}:REPLICATION:${end}`,
  );
  const other = `${id}0:REPLICATION:a`;
  for (const [n, jobId] of [first, second, unrecorded, other].entries()) {
    const failedAtMs = Date.now() - 1_000 + n;
    await createFailedJobs(stores, [
      { jobId, data: refreshOf(id), error: `no ${jobId}`, failedAtMs },
    ]);
  }
  for (const jobId of [first, second]) {
    const failure = { jobId, error: `no ${jobId}`, sqlState: undefined, attempts: 5, attemptMs: 0 };
    await recordFailure(database, { ...refreshOf(id), ...failure });
  }
});

it('an execution has its own failed jobs, newest first, with or without a record', async () => {
  const answer = await ask(id);
  expect(answer).toMatchObject({ state: 'failed', failure: { jobId: second, times: 2 } });
  expect(jobIdsOf(answer)).toEqual([unrecorded, second, first]);
});

it('a job that is on the queue again is not a failed one', async () => {
  await redis.zrem(queue.toKey('failed'), second);
  expect(jobIdsOf(await ask(id))).toEqual([unrecorded, first]);
});

it('an execution stays failed when Redis has lost its jobs', async () => {
  for (const jobId of [first, second, unrecorded]) {
    await redis.del(queue.toKey(jobId));
    await redis.zrem(queue.toKey('failed'), jobId);
  }
  const answer = await ask(id);
  expect(answer).toMatchObject({ state: 'failed', failure: { jobId: second, times: 2 } });
  expect(jobIdsOf(answer)).toEqual([]);
  const page = await fetch(`${url}/executions/${id}`, { headers: { accept: 'text/html' } });
  expect(await page.text()).toContain('not in Redis any more');
});

it('a recorded job is found however many have failed after it', async () => {
  const later = Array.from({ length: 1_500 }, (_none, n) => ({
    jobId: `${1_000_000 + n}:REPLICATION:later`,
    data: refreshOf(1_000_000 + n),
    error: 'no',
    failedAtMs: Date.now() + 1_000,
  }));
  await createFailedJobs(stores, later);
  expect(jobIdsOf(await ask(id))).toEqual([second, first]);
});
