import { expect, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { watchActiveJobs } from '../support/active-jobs.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { slowRefreshes } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const RUN_MS = 100;
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

it('10,000 enqueues of an execution that is being refreshed leave one job waiting and one running', async () => {
  const id = await createExecution(database, ['Running']);
  await slowRefreshes(database, RUN_MS);
  await Promise.all([startWorker(environment), startWorker(environment)]);
  const seenJobs = watchActiveJobs(queue);
  const fault = injectFault(23, '10,000 enqueues while the execution is refreshed');
  const beginMs = performance.now();
  for (let sent = 0; sent < 10_000; sent += 100) {
    await enqueueRefreshes(
      queue,
      Array.from({ length: 100 }, () => refreshOf(id)),
    );
    if (sent === 5_000) await database.query(`UPDATE task SET status = 'Error'`);
  }
  await database.query(`UPDATE task SET status = 'Success'`);
  await enqueueRefreshes(queue, [refreshOf(id)]);
  await until('the queue to be empty', async () => {
    const { waiting, active } = await countJobs(queue);
    return waiting + active === 0;
  });
  fault.recovered();
  const runsAtMost = Math.ceil((performance.now() - beginMs) / RUN_MS);
  const { twice, busyLooks } = seenJobs();
  expect(twice).toEqual([]);
  expect(busyLooks).toBeGreaterThan(10);
  const { status, revision } = await readExecution(database, id);
  expect(status).toBe('Success');
  expect(revision).toBeGreaterThan(1);
  expect(revision).toBeLessThanOrEqual(runsAtMost);
  await startProducer(environment);
  await witness.change([id]);
  await witness.verify();
});
