import { beforeEach, describe, expect, it } from 'vitest';
import { retryInBulk } from '../../shared/failures/bulk-retry.ts';
import { retryFailedRefresh } from '../../shared/queue/refresh-queue.ts';
import { createFailedJobs, failuresOf } from '../support/failed-jobs.ts';
import { killAt } from '../support/killing.ts';
import { createStores } from '../support/stores.ts';

const JOBS = 3;

const { database, queue, redis } = await createStores();

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await createFailedJobs({ queue, redis }, failuresOf(JOBS));
});

/** Executions that are on the queue or have a failed job. */
async function kept(): Promise<number[]> {
  const jobs = await queue.getJobs(['waiting', 'failed']);
  return [...new Set(jobs.map(({ data }) => data.executionId))].toSorted((a, b) => a - b);
}

describe.each(['before', 'after'] as const)('killed %s one of its steps', (when) => {
  it.each([1, 2])(
    '(step %i), a retry of one failed job leaves it failed or waiting',
    async (step) => {
      const kill = killAt(step, when);
      const job = await queue.getJob('2:REPLICATION:test');
      if (job === undefined) throw new Error('there is no such job');
      void retryFailedRefresh(kill.wrap(queue, ['addBulk']), {
        data: job.data,
        remove: () => kill.wrap(job, ['remove']).remove(),
      });
      await kill.happened;
      expect(await kept()).toEqual([1, 2, 3]);
    },
  );

  it.each([1, 2])('(step %i), a bulk retry leaves each failed or waiting', async (step) => {
    const kill = killAt(step, when);
    // BullMQ keeps its own connection, so the removal is the only script of this one.
    const stores = {
      database,
      redis: kill.wrap(redis, ['eval']),
      queue: kill.wrap(queue, ['addBulk']),
    };
    void retryInBulk(stores, {});
    await kill.happened;
    expect(await kept()).toEqual([1, 2, 3]);
  });
});
