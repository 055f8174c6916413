import { expect, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { countByRevision, createExecutions, refreshesOf } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { closeGate } from '../support/sabotage.ts';
import { settled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { BUSY_MACHINE_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const LOCK_MS = 2_000;
const INTERVAL_MS = 1_000;
const { database, queue, environment } = await createStores({
  settings: {
    LOCK_DURATION_MS: String(LOCK_MS),
    STALLED_INTERVAL_MS: String(INTERVAL_MS),
    SHUTDOWN_GRACE_MS: '30000',
    RECONCILE_INTERVAL_MS: '0',
  },
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

/** A worker that stands at the gate with a batch of this many executions, or the first of them, in hand. */
async function catchInMidBatch(executions: number) {
  const ids = await createExecutions(database, executions);
  const gate = await closeGate({ database, environment }, { each: 'STATEMENT' });
  const worker = await startWorker(environment);
  await enqueueRefreshes(queue, refreshesOf(ids));
  await gate.reached();
  return { ids, gate, worker };
}

it('the jobs of a worker killed in mid-batch are done by another within lock + interval', async () => {
  const { ids, gate, worker: victim } = await catchInMidBatch(150);
  const fault = injectFault(1, 'SIGKILL of a worker with a batch of 150 in hand');
  victim.kill('SIGKILL');
  await victim.ended;
  await witness.change(ids);
  await gate.open();
  const rescuer = await startWorker(environment);
  const startedMs = performance.now();
  await until('all to be refreshed', () => settled(queue));
  fault.recovered();
  // Detection needs two passes of the checker. How long a process takes to start isn't asked here.
  expect(performance.now() - startedMs).toBeLessThan(LOCK_MS + 2 * INTERVAL_MS + BUSY_MACHINE_MS);
  await rescuer.said(/recovered \d+ stalled jobs/);
  await startProducer(environment);
  await witness.verify();
});

it('a worker that gets SIGTERM in mid-batch finishes it, exits with 0 and leaves no job behind', async () => {
  injectFault(26, 'SIGTERM with a batch in hand');
  const { ids, gate, worker } = await catchInMidBatch(50);
  worker.kill('SIGTERM');
  await worker.said('stopping');
  await witness.change(ids);
  await gate.open();
  expect(await worker.ended).toEqual({ code: 0, signal: null });
  const { active } = await countJobs(queue);
  expect(active).toBe(0);
  expect((await countByRevision(database, ids))[1]).toBeGreaterThan(0);
  await startWorker(environment);
  await startProducer(environment);
  await witness.verify();
});

it('a second SIGTERM ends a worker at once, with exit code 1', async () => {
  injectFault(26, 'SIGTERM twice');
  const { ids, gate, worker } = await catchInMidBatch(5);
  worker.kill('SIGTERM');
  await worker.said('stopping');
  worker.kill('SIGTERM');
  expect(await worker.ended).toEqual({ code: 1, signal: null });
  await witness.change(ids);
  await gate.open();
  await startWorker(environment);
  await startProducer(environment);
  await witness.verify();
});
