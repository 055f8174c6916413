import { expect, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { closeGate } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const { database, queue, environment } = await createStores({
  settings: {
    LOCK_DURATION_MS: '1000',
    STALLED_INTERVAL_MS: '500',
    RECONCILE_INTERVAL_MS: '0',
  },
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

it("the job of a worker frozen beyond its lock is done by another, and its own late write isn't stale", async () => {
  const id = await createExecution(database, ['Running']);
  const refresh = refreshOf(id);
  const gate = await closeGate({ database, environment });
  const frozen = await startWorker(environment);
  await enqueueRefreshes(queue, [refresh]);
  await gate.reached();
  const fault = injectFault(2, 'SIGSTOP of a worker with a job in hand, SIGCONT later');
  frozen.kill('SIGSTOP');
  await database.query(`UPDATE task SET status = 'Success', end_time = '2026-02-03 04:05:06'`);

  const rescuer = await startWorker(environment);
  await rescuer.said(/recovered 1 stalled jobs/);
  await until('the rescuer to have the job', async () =>
    (await queue.getActive()).some((job) => job.processedBy?.endsWith(`:${rescuer.pid}`)),
  );
  frozen.kill('SIGCONT');
  // While it still waits: a result that is ready at once may come before it looks at its locks.
  await frozen.said('lost the locks of 1 jobs');
  frozen.kill('SIGSTOP');
  await gate.open();
  await until('the job to be done', async () => (await countJobs(queue)).active === 0);
  fault.recovered();
  expect(await readExecution(database, id)).toEqual({
    status: 'Success',
    endTime: '2026-02-03 04:05:06',
    revision: 2,
  });

  frozen.kill('SIGCONT');
  rescuer.kill('SIGTERM');
  expect((await rescuer.ended).code).toBe(0);
  // That its result came too late is said once, not for each of BullMQ's ways to find out.
  const tooLate = () => frozen.lines.filter((line) => /queue: Missing (key|lock)/.test(line));
  await until('the late result to be told', () => tooLate().length > 0);
  await database.query(`UPDATE task SET status = 'Error'`);
  await enqueueRefreshes(queue, [refresh]);
  await until(
    'the worker that was frozen to refresh it',
    async () => (await readExecution(database, id)).status === 'Error',
  );
  await startProducer(environment);
  await witness.change([id]);
  await witness.verify();
  expect(tooLate()).toHaveLength(1);
});
