import { beforeEach, describe, expect, it } from 'vitest';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import {
  countJobs,
  enqueueRefreshes,
  retryFailedRefresh,
} from '../../../shared/queue/refresh-queue.ts';
import {
  countByRevision,
  createExecution,
  createExecutions,
  readExecution,
  refreshOf,
} from '../../support/executions.ts';
import { metricsOf } from '../../support/health.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { expectNothingBroken } from '../../support/invariants.ts';
import { someoneToWait } from '../../support/lock-waits.ts';
import { failRefreshes, lockExecutions, sabotage } from '../../support/sabotage.ts';
import { allSettled, settled } from '../../support/settled.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';
import { injectFault } from '../../support/fault.ts';

const { database, queue, environment } = await createStores({
  settings: { JOB_ATTEMPTS: '2', RECONCILE_INTERVAL_MS: '0' },
});
const isSettled = () => settled(queue);

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox');
});

describe('one identity', () => {
  it('1,000 enqueues while it waits make one job', async () => {
    const id = await createExecution(database);
    await enqueueRefreshes(
      queue,
      Array.from({ length: 1_000 }, () => refreshOf(id)),
    );
    expect(await countJobs(queue)).toMatchObject({ waiting: 1, active: 0, delayed: 0 });
  });

  it('1,000 enqueues while it runs cause exactly one more run, which sees the newest tasks', async () => {
    const id = await createExecution(database, ['Running']);
    await openWorker(environment);
    const unlock = await lockExecutions(environment.DATABASE_URL, [id]);
    await enqueueRefreshes(queue, [refreshOf(id)]);
    await until('the job to run', async () => (await countJobs(queue)).active === 1);
    await enqueueRefreshes(
      queue,
      Array.from({ length: 1_000 }, () => refreshOf(id)),
    );
    await database.query(`UPDATE task SET status = 'Success'`);
    expect(await countJobs(queue)).toMatchObject({ waiting: 0, active: 1 });
    await unlock();
    await until('the queue to be empty', isSettled);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 2 });
  });

  it('after it failed for good and is kept, it can be enqueued and refreshed again', async () => {
    const id = await createExecution(database);
    const failure = await failRefreshes(database, 'disk quota of tenant 7', { ids: [id] });
    await openWorker(environment);
    await enqueueRefreshes(queue, [refreshOf(id)]);
    await until('it to fail', async () => (await countJobs(queue)).failed === 1);
    await failure.end();
    await enqueueRefreshes(queue, [refreshOf(id)]);
    await until(
      'it to be refreshed',
      async () => (await readExecution(database, id)).revision === 1,
    );
  });

  it('a retry by hand runs it once and leaves no failed job', async () => {
    const id = await createExecution(database);
    const failure = await failRefreshes(database, 'no', { ids: [id] });
    await openWorker(environment);
    await enqueueRefreshes(queue, [refreshOf(id)]);
    await until('it to fail', async () => (await countJobs(queue)).failed === 1);
    await failure.end();
    const [failed] = await queue.getFailed();
    if (failed) await retryFailedRefresh(queue, failed);
    await until('it to be refreshed', isSettled);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 1 });
    expect(await countJobs(queue)).toMatchObject({ failed: 0 });
  });
});

describe('a bad one harms only itself', () => {
  it.each([
    ['raises', `RAISE EXCEPTION 'poisoned'`, /poisoned/],
    ['ends its own backend', 'PERFORM pg_terminate_backend(pg_backend_pid())', /terminat/i],
  ])(
    'an execution whose update %s fails alone after its attempts; the other 499 are refreshed',
    async (what, statement, reason) => {
      const injected = `one of 500 executions whose update ${what}`;
      const fault = what === 'raises' ? injectFault(17, injected) : injectFault(21, injected);
      const ids = await createExecutions(database, 500);
      const bad = ids[250] ?? 0;
      const sabotaged = await sabotage(database, statement, { ids: [bad] });
      await recordRefreshes(database, ids.map(refreshOf), 'api');
      await openProducer(environment);
      await openWorker(environment);
      await until('all to be settled', () => allSettled({ queue, database }));
      const failed = await queue.getFailed();
      expect(failed.map((job) => job.data.executionId)).toEqual([bad]);
      expect(failed[0]?.attemptsMade).toBe(2);
      expect(failed[0]?.failedReason).toMatch(reason);
      expect(await countByRevision(database, ids)).toEqual({ 0: 1, 1: 499 });
      await sabotaged.end();
      fault.over();
      for (const job of failed) await retryFailedRefresh(queue, job);
      await expectNothingBroken({ database, queue });
      fault.recovered();
    },
  );

  it('a locked execution holds up no other, and is refreshed when the lock goes', async () => {
    const ids = await createExecutions(database, 200);
    const held = ids[100] ?? 0;
    await openWorker(environment);
    const unlock = await lockExecutions(environment.DATABASE_URL, [held]);
    await enqueueRefreshes(queue, ids.map(refreshOf));
    const onlyOneRuns = async () => {
      const { waiting, active } = await countJobs(queue);
      return waiting === 0 && active === 1;
    };
    await until('the others to be refreshed', onlyOneRuns);
    expect(await countByRevision(database, ids)).toEqual({ 0: 1, 1: 199 });
    await someoneToWait(database);
    // Not for a moment only: the others are refreshed again while it waits.
    await enqueueRefreshes(queue, ids.filter((id) => id !== held).map(refreshOf));
    await until('the others to be refreshed again', onlyOneRuns);
    expect(await countByRevision(database, ids)).toEqual({ 0: 1, 2: 199 });
    expect(await countJobs(queue)).toMatchObject({ active: 1, failed: 0, delayed: 0 });
    await unlock();
    await until('it to be refreshed', isSettled);
    expect(await countByRevision(database, ids)).toEqual({ 1: 1, 2: 199 });
  });

  it('a deleted execution and one without tasks complete, and are counted as what they are', async () => {
    const fault = injectFault(18, 'DELETE of an execution whose job waits');
    const [id = 0, deleted = 0] = await createExecutions(database, 2, []);
    await enqueueRefreshes(queue, [refreshOf(id), refreshOf(deleted)]);
    await database.query('DELETE FROM execution WHERE id = $1', [deleted]);
    const worker = await openWorker(environment);
    await until('both to be done', isSettled);
    fault.recovered();
    expect(await countJobs(queue)).toMatchObject({ failed: 0 });
    const metrics = await metricsOf(worker);
    expect(metrics).toContain('tally_refreshes_total{vendor="REPLICATION",outcome="no_tasks"} 1');
    expect(metrics).toContain('tally_refreshes_total{vendor="REPLICATION",outcome="missing"} 1');
  });

  it("a job that isn't a refresh fails at once, with a clear reason and without a retry", async () => {
    injectFault(20, 'job data that is no refresh');
    await openWorker(environment);
    for (const data of [
      {},
      'text',
      { executionId: 2 ** 60, vendor: 'X' },
      { executionId: 1, vendor: '' },
    ]) {
      await queue.add('refresh', data as never);
    }
    await until('all to fail', async () => (await countJobs(queue)).failed === 4);
    const failed = await queue.getFailed();
    expect(failed.map(({ attemptsMade }) => attemptsMade)).toEqual([1, 1, 1, 1]);
    for (const { failedReason } of failed) expect(failedReason).toContain('not a refresh');
  });
});
