import { afterAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { Registry } from 'prom-client';
import { withSettings } from '../../../shared/process/config.ts';
import { createJanitorMetrics } from '../../../shared/process/metrics.ts';
import { connectRedis } from '../../../shared/queue/redis.ts';
import {
  countFailures,
  readFailureRecord,
  recordFailure,
} from '../../../shared/postgres/failures.ts';
import { enqueueRefreshes, openRefreshQueue } from '../../../shared/queue/refresh-queue.ts';
import { Turns } from '../../../shared/postgres/lease.ts';
import { clearUpFailed } from '../../../workers/failed-janitor.ts';
import {
  createExecution,
  createExecutions,
  readExecution,
  refreshOf,
  refreshesOf,
} from '../../support/executions.ts';
import { createFailedJobs, failuresOf, type FailedJob } from '../../support/failed-jobs.ts';
import { metricsOf } from '../../support/health.ts';
import { openWorker } from '../../support/in-process.ts';
import { closeGate, failRefreshes } from '../../support/sabotage.ts';
import { MANY_CALLS_SLOW_MS, slowCommands } from '../../support/slow-log.ts';
import { newRedis } from '../../support/servers.ts';
import { createStores, silent } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

// Its slow log tells of this file's commands only.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const { config, database, queue, redis, environment } = await createStores({
  settings: { JOB_ATTEMPTS: '1' },
  redisUrl: ownRedis.url,
});
const running = new AbortController().signal;
const registry = new Registry();
const parts = {
  config,
  database,
  turns: new Turns(database, 'failed-janitor', 10_000),
  queue,
  redis,
  metrics: createJanitorMetrics(registry),
  log: silent,
};

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure RESTART IDENTITY');
  await database.query(`UPDATE tally.failed_janitor SET checked_to = '', compared_to = ''`);
  await database.query('DELETE FROM tally.lease');
});

/** The notes that workers leave of these jobs. */
async function note(jobs: readonly FailedJob[], refreshed: boolean, minutesAgo = 0): Promise<void> {
  await database.query(
    `INSERT INTO tally.failure (job_id, execution_id, vendor, refreshed, failed_at)
     SELECT id, 1, 'REPLICATION', $2, clock_timestamp() - $3 * interval '1 minute'
       FROM unnest($1::text[]) AS id`,
    [jobs.map(({ jobId }) => jobId), refreshed, minutesAgo],
  );
}

async function notes(): Promise<string[]> {
  const rows = await database.query<{ id: string }>(
    'SELECT job_id AS id FROM tally.failure ORDER BY job_id',
  );
  return rows.map(({ id }) => id);
}

describe('a failed job whose execution has since been refreshed', () => {
  it("is soon removed by the workers and counted; one that wasn't refreshed stays", async () => {
    const [healed = 0, broken = 0] = await createExecutions(database, 2);
    const failure = await failRefreshes(database);
    const worker = await openWorker(environment);
    await enqueueRefreshes(queue, refreshesOf([healed, broken]));
    await until('both to fail', async () => (await queue.getFailedCount()) === 2);
    await failure.end();
    await enqueueRefreshes(queue, [refreshOf(healed)]);
    await until(
      'one to be refreshed',
      async () => (await readExecution(database, healed)).revision === 1,
    );
    await database.query('DELETE FROM tally.lease');
    await worker.said('removed 1 failed jobs whose executions were refreshed since');
    expect((await queue.getFailed()).map((job) => job.data.executionId)).toEqual([broken]);
    expect(await metricsOf(worker)).toContain('tally_failed_removed_total{reason="refreshed"} 1');
  });

  it('is removed although the janitor was killed between removing others and their records', async () => {
    const jobs = failuresOf(3);
    await note(jobs, true);
    await createFailedJobs({ queue, redis }, jobs.slice(2));
    await clearUpFailed(parts, running);
    expect(await queue.getFailedCount()).toBe(0);
    expect(await notes()).toEqual([]);
  });

  it("isn't one that was recorded after the refresh had read the tasks", async () => {
    const id = await createExecution(database);
    const gate = await closeGate({ database, environment });
    const refresh = () =>
      database.query('SELECT FROM tally.refresh_executions(ARRAY[$1::bigint])', [id]);
    const isRefreshed = () => database.query('SELECT refreshed FROM tally.failure');
    const refreshing = refresh();
    await gate.reached();
    await database.query(
      `INSERT INTO tally.failure (job_id, execution_id, vendor) VALUES ('x', $1, 'REPLICATION')`,
      [id],
    );
    await gate.open();
    await refreshing;
    expect(await isRefreshed()).toEqual([{ refreshed: false }]);
    await refresh();
    expect(await isRefreshed()).toEqual([{ refreshed: true }]);
  });

  it('that is on the queue again stays there, with its record', async () => {
    await enqueueRefreshes(queue, [refreshOf(1)]);
    const [waiting] = await queue.getWaiting();
    await note([{ jobId: waiting?.id ?? '', data: {}, error: '' }], true, 60);
    await clearUpFailed(parts, running);
    expect(await queue.getWaitingCount()).toBe(1);
    expect(await notes()).toEqual([waiting?.id]);
  });
});

describe('retention', () => {
  it('enforces FAILED_KEEP_COUNT and FAILED_KEEP_HOURS without a new failure', async () => {
    const now = Date.now();
    await createExecutions(database, 6);
    const jobs = failuresOf(6).map((job, index) => ({
      ...job,
      failedAtMs: now - (index < 2 ? 7_200_000 : 60_000 * (6 - index)),
    }));
    await createFailedJobs({ queue, redis }, jobs);
    const failedIds = async () => (await queue.getFailed()).map((job) => job.data.executionId);
    const config = withSettings(parts.config, { FAILED_KEEP_HOURS: 1 });
    await clearUpFailed({ ...parts, config }, running);
    expect(await failedIds()).toEqual([6, 5, 4, 3]);
    const smaller = withSettings(config, { FAILED_KEEP_COUNT: 2 });
    await clearUpFailed({ ...parts, config: smaller }, running);
    expect(await failedIds()).toEqual([6, 5]);
    // The two oldest went before anybody had recorded them; nobody forgets the others.
    expect(await countFailures(database)).toBe(4);
  });

  it('of 20,000 failed jobs never blocks Redis, nor does the removal of those refreshed', async () => {
    const jobs = failuresOf(20_000);
    const clean = vi.spyOn(queue, 'clean');
    const slow = await slowCommands(redis, MANY_CALLS_SLOW_MS, async () => {
      await database.query('TRUNCATE tally.failure');
      await createFailedJobs({ queue, redis }, jobs);
      await note(jobs.slice(10_000), true);
      await clearUpFailed(
        { ...parts, config: withSettings(config, { FAILED_KEEP_COUNT: 10 }) },
        running,
      );
    });
    expect(slow).toEqual([]);
    // 10,000 at once take 100 ms.
    expect(Math.max(...clean.mock.calls.map(([, limit]) => limit))).toBeLessThanOrEqual(500);
    expect(await queue.getFailedCount()).toBe(10);
    // Those that were refreshed are forgotten, and the ten that are left are recorded.
    expect(await notes()).toHaveLength(10);
  });
});

describe('a failed job without a record', () => {
  it("of an older version is recorded, one an execution, unless it isn't a refresh", async () => {
    const jobs = failuresOf(700, (id) => `no ${id}\u0000`);
    await createExecutions(database, 700);
    await createFailedJobs({ queue, redis }, [
      ...jobs,
      { jobId: '1:REPLICATION:older', data: jobs[0]?.data, error: 'old', failedAtMs: 1_000 },
      { jobId: 'odd', data: {}, error: 'no refresh' },
    ]);
    await clearUpFailed(
      { ...parts, config: withSettings(config, { FAILED_KEEP_HOURS: 87_600 }) },
      running,
    );
    expect(await countFailures(database)).toBe(700);
    await clearUpFailed(parts, running);
    expect(await countFailures(database)).toBe(700);
    expect(await notes()).toHaveLength(700);
    const record = await readFailureRecord(database, 3);
    expect(record).toMatchObject({ jobId: '3:REPLICATION:test', error: 'no 3' });
  });
});

describe('an execution that fails again', () => {
  it('has one failure that stands, with how often and since when, and one failed job', async () => {
    const id = await createExecution(database);
    const identity = refreshOf(id);
    const jobs = ['a', 'b', 'c'].map((suffix) => ({
      jobId: `${id}:REPLICATION:${suffix}`,
      data: identity,
      error: `no ${suffix}`,
    }));
    await createFailedJobs({ queue, redis }, jobs);
    for (const { jobId, error } of jobs) {
      const failure = { ...identity, jobId, error, sqlState: 'P0001', attempts: 2, attemptMs: 0 };
      await recordFailure(database, failure);
    }
    const record = await readFailureRecord(database, id);
    expect(record).toMatchObject({ error: 'no c', times: 3, attempts: 2, sqlState: 'P0001' });
    expect(record?.firstFailedAtMs).toBeLessThanOrEqual(record?.failedAtMs ?? 0);
    expect(await countFailures(database)).toBe(1);
    await clearUpFailed(parts, running);
    expect((await queue.getFailed()).map((job) => job.id)).toEqual([jobs[2]?.jobId]);
    expect(await notes()).toEqual([jobs[2]?.jobId]);
  });
});

describe('a record whose failed job is gone', () => {
  it('stays however old it is, so the failure is still known', async () => {
    const id = await createExecution(database);
    await note(failuresOf(1), false, 60 * 24 * 365);
    await database.query('UPDATE tally.failure SET execution_id = $1', [id]);
    await clearUpFailed(parts, running);
    expect(await notes()).toHaveLength(1);
    expect(await countFailures(database)).toBe(1);
  });

  it('is removed once the execution was deleted', async () => {
    await note(failuresOf(1_200), false);
    // A pass compares for a second only, and a busy machine doesn't get through all of them in one.
    await until('no note to be left', async () => {
      await clearUpFailed(parts, running);
      return (await notes()).length === 0;
    });
    expect(await countFailures(database)).toBe(0);
  });

  it("isn't deleted unless Redis says that the job is gone", async () => {
    await note(failuresOf(1), true, 11);
    const user = environment.QUEUE_PREFIX;
    await redis.call('ACL', 'SETUSER', user, 'on', '>secret', '~*', '&*', '+@all', '-exists');
    onTestFinished(() => void redis.call('ACL', 'DELUSER', user));
    const url = Object.assign(new URL(environment.REDIS_URL), {
      username: user,
      password: 'secret',
    });
    const refusing = connectRedis({ ...config, REDIS_URL: url.href }, 'failFast', silent);
    onTestFinished(() => refusing.disconnect());
    const refusingQueue = openRefreshQueue(config, refusing);
    await expect(
      clearUpFailed({ ...parts, redis: refusing, queue: refusingQueue }, running),
    ).rejects.toThrow(/NOPERM/);
    expect(await notes()).toHaveLength(1);
  });
});
