import { expect, it } from 'vitest';
import { createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { slowRefreshes } from '../support/sabotage.ts';
import { allSettled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const KILLS = 8;
const WORKERS = 3;
const { database, queue, environment } = await createStores({
  settings: {
    LOCK_DURATION_MS: '1000',
    STALLED_INTERVAL_MS: '500',
    JOB_ATTEMPTS: '1',
    RECONCILE_INTERVAL_MS: '0',
  },
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

it('killing workers again and again under load fails no job, and everything is refreshed', async () => {
  const ids = await createExecutions(database, 400, ['Running', 'Success']);
  // A batch takes long enough to be met in its middle.
  await slowRefreshes(database, 100, { each: 'STATEMENT' });
  await startProducer(environment);
  const startWorkers = (count: number) =>
    Promise.all(Array.from({ length: count }, () => startWorker(environment)));
  let workers = await startWorkers(WORKERS);
  const changeTasks = (): Promise<void> =>
    witness.change(ids.toSorted(() => Math.random() - 0.5).slice(0, 200));
  const fault = injectFault(
    3,
    'SIGKILL of one of three workers with jobs in hand, six times, and of all three, twice',
  );
  let recovered = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    await changeTasks();
    // Killed with jobs in hand, of which another worker has to take over each. Which worker gets any
    // is up to chance: the others may have been faster.
    const busy = await until('a worker to have jobs in hand', async () => {
      const active = await queue.getActive();
      if (active.length === 0) await changeTasks();
      return workers.find(({ pid }) => active.some((job) => job.processedBy?.endsWith(`:${pid}`)));
    });
    const victims = kill % 4 === 3 ? workers : [busy];
    for (const victim of victims) victim.kill('SIGKILL');
    for (const victim of victims) {
      await victim.ended;
      recovered += recoveries(victim.lines);
    }
    fault.over();
    const others = workers.filter((worker) => !victims.includes(worker));
    workers = [...others, ...(await startWorkers(victims.length))];
  }
  await until('all to be done', () => allSettled({ queue, database }));
  fault.recovered();
  recovered += workers.reduce((sum, { lines }) => sum + recoveries(lines), 0);
  expect(recovered).toBeGreaterThan(0);
  await witness.verify();
});

function recoveries(lines: readonly string[]): number {
  return lines.filter((line) => /recovered \d+ stalled jobs/.test(line)).length;
}
