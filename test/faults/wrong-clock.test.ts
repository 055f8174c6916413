import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { countJobs } from '../../shared/queue/refresh-queue.ts';
import { createExecutions, untilOutboxIsEmpty } from '../support/executions.ts';
import { metricsOf } from '../support/health.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const { database, queue, environment } = await createStores({
  // Few jobs at a time, so that every worker gets some.
  settings: { JOB_ATTEMPTS: '2', WORKER_CONCURRENCY: '20', RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const HOUR_MS = 3_600_000;
const shifted = (hours: number) => ({
  ...environment,
  NODE_OPTIONS: `--import=file://${fileURLToPath(new URL('../support/clock-shift.mjs', import.meta.url))}`,
  CLOCK_SHIFT_MS: String(hours * HOUR_MS),
});

it('workers two hours ahead or behind lose nothing, store nothing old and report correct ages', async () => {
  injectFault(22, 'workers whose Date is two hours ahead and behind');
  const witness = await witnessRefreshes({ database, queue });
  await startProducer(environment);
  const ahead = await startWorker(shifted(2));
  const others = await Promise.all([startWorker(shifted(-2)), startWorker(environment)]);
  const workers = [ahead, ...others];
  // The clocks really are wrong.
  const hours = workers.map(({ lines }) => {
    const { time } = JSON.parse(lines[0] ?? '') as { time: string };
    return Math.round((Date.parse(time) - Date.now()) / HOUR_MS) + 0;
  });
  expect(hours).toEqual([2, -2, 0]);
  await ahead.said(/clock of this machine is 7[12]\d\d s ahead of that of Redis/);
  await others[0]?.said(/clock of this machine is 7[12]\d\d s behind that of Redis/);

  const ids = await createExecutions(database, 600);
  const [bad = 0] = ids;
  for (let round = 0; round < 3; round++) await witness.change(ids);
  await witness.verify();
  for (const worker of workers) {
    const metrics = await metricsOf(worker);
    expect(Number(/outcome="changed"\} (\d+)/.exec(metrics)?.[1])).toBeGreaterThan(0);
    // From recorded to refreshed, by the database's clock: all of them within a minute, and none below zero.
    const count = /lag_seconds_count\{source="capture"\} (\d+)/.exec(metrics)?.[1];
    expect(/lag_seconds_bucket\{le="60",source="capture"\} (\d+)/.exec(metrics)?.[1]).toBe(count);
    expect(Number(/lag_seconds_sum\{source="capture"\} (\S+)/.exec(metrics)?.[1])).toBeGreaterThan(
      0,
    );
  }

  // A job that fails for good deletes the rows sent before its last attempt; here that is left to a wrong clock alone.
  for (const worker of others) worker.kill('SIGTERM');
  await Promise.all(others.map(({ ended }) => ended));
  const failure = await failRefreshes(database, 'poisoned', { ids: [bad] });
  await witness.change([bad]);
  await until('it to fail for good', async () => (await countJobs(queue)).failed === 1);
  await untilOutboxIsEmpty(database);
  await failure.end();
  await witness.change([bad]);
  await witness.verify();
});
