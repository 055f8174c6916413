import { expect, it } from 'vitest';
import { causeOf } from '../../../shared/queue/fold-error.ts';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { createExecutions, refreshesOf } from '../../support/executions.ts';
import { metricsOf } from '../../support/health.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { failRefreshes } from '../../support/sabotage.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { database, queue, environment } = await createStores({
  settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: '0' },
});

it('failures are counted by SQLSTATE and violated constraint, and no longer once they are refreshed', async () => {
  const [constrained = 0, ...raised] = await createExecutions(database, 3);
  await database.query(
    `ALTER TABLE execution ADD CONSTRAINT stays_running CHECK (id <> ${constrained} OR status = 'Running')`,
  );
  const failure = await failRefreshes(database, 'quota of <id> is used up', { ids: raised });
  await openWorker(environment);
  const producer = await openProducer(environment);
  const figures = async (): Promise<string[]> =>
    (await metricsOf(producer))
      .split('\n')
      .filter((line) => line.startsWith('tally_failures'))
      .toSorted();
  expect(await figures()).toEqual(['tally_failures 0']);

  await enqueueRefreshes(queue, refreshesOf([constrained, ...raised]));
  await until('all three to fail', async () => (await queue.getFailedCount()) === 3);
  expect(await figures()).toEqual([
    'tally_failures 3',
    'tally_failures_by_cause{cause="23514 stays_running"} 1',
    'tally_failures_by_cause{cause="P0001"} 2',
  ]);
  // The dashboard and tally failed name the constraint in the same way.
  const [record] = await database.query<{ error: string; sqlState: string }>(
    `SELECT error, sqlstate AS "sqlState" FROM tally.failure WHERE execution_id = $1`,
    [constrained],
  );
  expect(record && causeOf(record)).toBe(
    'violates check constraint "stays_running" (SQLSTATE 23514)',
  );

  await failure.end();
  await enqueueRefreshes(queue, refreshesOf(raised));
  await until(
    'the refreshed ones to be no failures',
    async () => (await figures())[0] === 'tally_failures 1',
  );
  expect(await figures()).toEqual([
    'tally_failures 1',
    'tally_failures_by_cause{cause="23514 stays_running"} 1',
  ]);
});
