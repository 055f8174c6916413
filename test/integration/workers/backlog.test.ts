import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { openBacklogQueue } from '../../../shared/queue/backlog-queue.ts';
import {
  countByRevision,
  createExecution,
  createExecutions,
  outboxRows,
  refreshOf,
  refreshesOf,
  untilOutboxIsEmpty,
} from '../../support/executions.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { startProducer, startWorker } from '../../support/processes.ts';
import { failRefreshes, lockExecutions } from '../../support/sabotage.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { config, database, queue, redis, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    JOB_ATTEMPTS: '1',
  },
});
const backlog = openBacklogQueue(config, redis);
const HOUR_MS = 3_600_000;

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await backlog.obliterate({ force: true });
  await backlog.resume();
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure');
});

/** Records a refresh of each, as of an hour ago. */
async function recordOld(ids: readonly number[]): Promise<void> {
  await recordRefreshes(database, refreshesOf(ids), 'api', -HOUR_MS);
}

async function done(): Promise<void> {
  await untilOutboxIsEmpty(database);
}

describe('the backlog lane', () => {
  it('refreshes old rows once each, with hardly a job on the express queue', async () => {
    const ids = await createExecutions(database, 20_000);
    await recordOld(ids);
    await openWorker(environment);
    await openProducer(environment);
    await done();
    expect(await countByRevision(database, ids)).toEqual({ 1: 20_000 });
    const finished = await until('its jobs to end', async () => {
      const jobs = await backlog.getJobs(['completed']);
      const refreshed = jobs.reduce((sum, job) => sum + (job.returnvalue?.refreshed ?? 0), 0);
      return refreshed === 20_000 ? jobs : undefined;
    });
    expect(finished.length).toBeLessThanOrEqual(100);
    expect(finished.some(({ returnvalue }) => (returnvalue?.changed ?? 0) > 0)).toBe(true);
    expect(await backlog.getFailedCount()).toBe(0);
  });

  it('leaves a bad execution and a locked one to the express lane, and does the rest', async () => {
    const ids = await createExecutions(database, 3_000);
    const [poison = 0, locked = 0] = ids;
    await failRefreshes(database, 'no', { ids: [poison] });
    await recordOld(ids);
    const unlock = await lockExecutions(environment.DATABASE_URL, [locked]);
    await openProducer(environment);
    await openWorker(environment);
    await until('all others to be refreshed', async () => {
      return (await countByRevision(database, ids))[1] === 2_998;
    });
    await unlock();
    await done();
    await until('the poison to fail', async () => (await queue.getFailedCount()) === 1);
    expect((await queue.getFailed())[0]?.data.executionId).toBe(poison);
    expect(await countByRevision(database, ids)).toEqual({ 0: 1, 1: 2_999 });
  });

  it('takes most of a sudden burst, however fast the relay is', async () => {
    const ids = await createExecutions(database, 20_000);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    // The rows stay fresh.
    await openProducer({ ...environment, BACKLOG_AFTER_MS: '3600000' });
    await until('the express lane to have its part', async () => {
      return (await queue.getWaitingCount()) >= 2_000;
    });
    for (let look = 0; look < 50; look++) expect(await queue.getWaitingCount()).toBe(2_000);
    // What came last would otherwise wait behind all the others.
    const jobs = await queue.getJobs(['waiting']);
    expect(jobs.map(({ data }) => data.executionId)).toContain(ids.at(-1));
  });

  it("doesn't get a change that came while the relay was held up", async () => {
    const old = await createExecutions(database, 3);
    await backlog.pause();
    await recordOld(old);
    await openWorker(environment);
    const producer = await startProducer({ ...environment, BACKLOG_AFTER_MS: '200' });
    await until('the relay to ask for the backlog', async () => (await backlog.count()) > 0);
    producer.kill('SIGSTOP');
    const late = await createExecution(database);
    await recordRefreshes(database, [refreshOf(late)], 'api');
    await until('it to be older than what is fresh', async () => {
      const [row] = await database.query<{ ms: number }>(
        `SELECT extract(epoch FROM clock_timestamp() - max(due_at)) * 1000 AS ms FROM tally.outbox`,
      );
      return Number(row?.ms) > 400;
    });
    producer.kill('SIGCONT');
    await until('it to be refreshed', async () => {
      return (await countByRevision(database, [late]))[1] === 1;
    });
    // Unless all of this took so long that the express lane had to help.
    if (!producer.lines.join('\n').includes('no worker drains the backlog')) {
      expect(await countByRevision(database, old)).toEqual({ 0: 3 });
    }
  });

  it('gives its rows to the express lane while nobody drains it, and takes them back', async () => {
    const first = await createExecutions(database, 2_000);
    await backlog.pause();
    await recordOld(first);
    const producer = await openProducer(environment);
    await openWorker(environment);
    await producer.said('no worker drains the backlog');
    await done();
    expect(await countByRevision(database, first)).toEqual({ 1: 2_000 });
    await backlog.resume();
    await producer.said('workers drain the backlog again');
    const second = await createExecutions(database, 2_000);
    await recordOld(second);
    await done();
    expect(await countByRevision(database, second)).toEqual({ 1: 2_000 });
  });

  it.each([
    ['end', 0],
    ['run', HOUR_MS],
  ])(
    'is helped and not said to be unattended while jobs %s though its oldest row stays',
    async (_, ms) => {
      const ids = await createExecutions(database, 10);
      await recordOld(ids);
      const stop = new AbortController();
      // As one whose batches take long, or begin behind a row that an earlier batch had to leave.
      const worker = new Worker(
        backlog.name,
        () => delay(ms, undefined, { signal: stop.signal }).catch(() => undefined),
        {
          connection: redis.duplicate({ maxRetriesPerRequest: null }),
          prefix: config.QUEUE_PREFIX,
        },
      );
      onTestFinished(async () => {
        stop.abort();
        await worker.close();
      });
      const producer = await openProducer({ ...environment, BACKLOG_JOBS: '1' });
      await until('the express lane to have the rows', async () => {
        return (await queue.getWaitingCount()) === ids.length;
      });
      expect(producer.lines.join('\n')).not.toContain('no worker drains the backlog');
    },
  );

  it('goes on in another worker when one stops after the batch in hand', async () => {
    const ids = await createExecutions(database, 30_000);
    await recordOld(ids);
    await openProducer(environment);
    const first = await startWorker(environment);
    await until('some to be refreshed', async () => (await outboxRows(database)) < 29_000);
    const second = await startWorker(environment);
    first.kill('SIGTERM');
    expect(await first.ended).toMatchObject({ code: 0 });
    await done();
    expect(await countByRevision(database, ids)).toEqual({ 1: 30_000 });
    second.kill('SIGTERM');
    expect(await second.ended).toMatchObject({ code: 0 });
  });
});
