import { beforeEach, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions, readExecution, refreshOf } from '../support/executions.ts';
import { createFailedJobs } from '../support/failed-jobs.ts';
import { openWorker } from '../support/in-process.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { runTally } from '../support/processes.ts';
import { settled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1' } });
const { database, queue, redis, environment } = stores;
const { url } = await serveDashboard(stores);

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure');
});

/** Puts a job on the queue as no program of ours does. */
async function writeJob(jobId: string, fields: Readonly<Record<string, string>>): Promise<void> {
  const job = { name: 'refresh', data: '{}', opts: '{}', timestamp: '1', ...fields };
  await redis.hset(queue.toKey(jobId), job);
  await redis.lpush(queue.toKey('wait'), jobId);
}

it("a job whose data or options aren't JSON fails once, and the queue drains", async () => {
  injectFault(44, 'data and options that are no JSON, written to Redis by hand');
  const [id = 0, other = 0] = await createExecutions(database, 2);
  const good = JSON.stringify(refreshOf(id));
  await writeJob('bad:data:1', { data: '{"executionId":' });
  await writeJob('bad:data:2', { data: 'x'.repeat(20_000) });
  await writeJob('bad:all:3', { data: '\u0000', opts: 'null', progress: '}' });
  await writeJob('bad:opts:4', { data: good, opts: 'no', progress: 'no' });
  await enqueueRefreshes(queue, [refreshOf(other)]);
  await openWorker(environment);
  await until(
    'the queue to drain',
    async () => (await settled(queue)) && (await queue.getFailedCount()) === 3,
  );
  for (const done of [id, other]) {
    expect(await readExecution(database, done)).toMatchObject({ status: 'Success', revision: 1 });
  }
  await expectNothingBroken({ database });
  const failed = await queue.getFailed();
  expect(failed.map(({ attemptsMade }) => attemptsMade)).toEqual([1, 1, 1]);
  for (const { failedReason } of failed) expect(failedReason).toMatch(/not a refresh .*not JSON/);
});

it("failed jobs that aren't JSON, or have an error of 20,000 characters, break no list", async () => {
  await createFailedJobs(stores, [
    { jobId: 'bad:data:1', data: {}, error: 'a' },
    { jobId: 'bad:opts:2', data: {}, error: 'b'.repeat(20_000) },
    { jobId: '3:REPLICATION:x', data: refreshOf(3), error: 'c' },
  ]);
  await redis.hset(queue.toKey('bad:data:1'), { data: '{', stacktrace: '{', processedOn: 'x' });
  await redis.hset(queue.toKey('bad:opts:2'), { opts: '[', finishedOn: 'x', atm: 'x' });
  await redis.zadd(queue.toKey('failed'), 'inf', 'bad:opts:2');
  const ask = (path: string) => fetch(`${url}${path}`);
  const list = await ask('/api/queues?activeQueue=refresh&status=failed&page=1&jobsPerPage=10');
  expect(list.status).toBe(200);
  const { queues } = (await list.json()) as { queues: { jobs: { name: string }[] }[] };
  expect(queues[0]?.jobs.map(({ name }) => name).toSorted()).toEqual([
    '3:REPLICATION',
    'not a refresh (bad:data:1)',
    'not a refresh (bad:opts:2)',
  ]);
  for (const jobId of ['bad:data:1', 'bad:opts:2']) {
    expect((await ask(`/api/queues/refresh/${encodeURIComponent(jobId)}`)).status).toBe(200);
  }
  expect((await ask('/overview')).status).toBe(200);
  const { code, output } = await runTally(['failed', '--json'], environment);
  expect(code).toBe(0);
  expect(JSON.parse(output)).toMatchObject({ failed: 3 });
  const retried = await fetch(`${url}/api/queues/refresh/retry/failed`, { method: 'PUT' });
  expect(retried.status).toBeLessThan(300);
  await until('the one that is a refresh to be retried', async () => {
    const left = await queue.getFailed();
    return left.length === 2 && (await queue.getWaitingCount()) === 1;
  });
});

it('an unreadable heartbeat or running job leaves the others on the Workers card', async () => {
  const worker = await openWorker(environment);
  const name = String(/worker (\S+): health/.exec(await worker.said('health and metrics'))?.[1]);
  const prefix = environment.QUEUE_PREFIX;
  for (const sign of ['no JSON', '"x"', 'null', '{"startedAt":"x","concurrency":1}']) {
    await redis.set(`${prefix}:refresh-worker:${name}`, sign);
    await redis.hset(queue.toKey('by:hand:1'), { pb: name, processedOn: 'x' });
    await redis.rpush(queue.toKey('active'), 'by:hand:1');
    const text = await (await fetch(`${url}/overview`)).text();
    expect(text).toContain('<h2>Workers');
    expect(text).toContain(name);
  }
});
