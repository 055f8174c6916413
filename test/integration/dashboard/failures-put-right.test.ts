import { expect, it } from 'vitest';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecutions, refreshesOf } from '../../support/executions.ts';
import { metricsOf } from '../../support/health.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { runTally } from '../../support/processes.ts';
import { failRefreshes } from '../../support/sabotage.ts';
import { createStores } from '../../support/stores.ts';
import { statusOf } from '../../support/tally-status.ts';
import { until } from '../../support/wait.ts';

// The reconciler may see the executions before they fail, and would repair both.
const stores = await createStores({
  settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: '0' },
});
const { database, queue, environment } = stores;
const { url } = await serveDashboard(stores);

const tile = (page: string): number =>
  Number(/<dt>Failed<\/dt>\s*<dd><a[^>]*>(\d+)/.exec(page)?.[1]);

// Waits for a pass of the failed-janitor, about every ten seconds.
it('a failure whose execution the host itself put right needs nobody: pages, commands and metric agree', async () => {
  const [right = 0, wrong = 0] = await createExecutions(database, 2);
  const failure = await failRefreshes(database);
  const worker = await openWorker(environment);
  const producer = await openProducer(environment);
  await enqueueRefreshes(queue, refreshesOf([right, wrong]));
  await until('both to fail', async () => (await queue.getFailedCount()) === 2);
  await failure.end();
  // As the host does with a loop of its own.
  await database.query(
    `UPDATE execution e SET status = r.status, end_time = r.end_time
       FROM tally.rollup(ARRAY[$1::bigint]) r WHERE e.id = r.execution_id`,
    [right],
  );

  const overview = async (): Promise<string> => (await fetch(url)).text();
  await until('the overview to show one', async () => tile(await overview()) === 1);
  await worker.said('1 failures need nobody any more: a refresh would change nothing');
  const page = await overview();
  expect(page).toContain(`/executions/${wrong}"`);
  expect(page).not.toContain(`/executions/${right}"`);
  expect(await statusOf(environment)).toMatchObject({ failures: 1 });
  const { output } = await runTally(['failed', '--json'], environment);
  expect(JSON.parse(output)).toMatchObject({
    failed: 1,
    causes: [{ count: 1, examples: [{ identity: `${wrong}:REPLICATION` }] }],
  });
  await until('the metric to say one', async () =>
    /^tally_failures 1$/m.test(await metricsOf(producer)),
  );
  await until('its failed job to go', async () => (await queue.getFailedCount()) === 1);
  expect((await queue.getFailed()).map((job) => job.data.executionId)).toEqual([wrong]);
});
