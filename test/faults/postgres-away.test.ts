import { afterAll, expect, it } from 'vitest';
import { countJobs } from '../../shared/queue/refresh-queue.ts';
import {
  countByRevision,
  createExecutions,
  outboxRows,
  refreshOf,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { askForRefreshes } from '../support/refresh-api.ts';
import { controlledPostgres } from '../support/server-control.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const postgres = await controlledPostgres();
afterAll(() => postgres.remove());
const { database, queue, environment } = await createStores({
  // Without the backlog lane, which could drain all of it before Postgres stops.
  settings: { WORKER_CONCURRENCY: '50', RECONCILE_INTERVAL_MS: '0', BACKLOG_JOBS: '0' },
  postgresUrl: postgres.url,
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

it('Postgres stopping under load costs no attempt, and the API answers 503 until it is back', async () => {
  const ids = await createExecutions(database, 30_000);
  const producer = await startProducer(environment);
  const worker = await startWorker(environment);
  await until('some to be refreshed', async () => (await outboxRows(database)) < 29_000);
  await witness.change(ids.slice(-20));
  const fault = injectFault(11, 'pg_ctl stop under load');
  await postgres.stop();
  await worker.said('Postgres is unavailable');

  // It answers while Postgres is still stopped.
  const answer = await askForRefreshes(producer.url, refreshOf(1));
  expect(answer.status).toBe(503);

  // None runs any more: each was given back, and the worker takes no other.
  await until('no job to run', async () => (await countJobs(queue)).active === 0);
  expect(await countJobs(queue)).toMatchObject({ failed: 0, delayed: 0 });
  fault.over();
  await postgres.start();
  await untilOutboxIsEmpty(database, 40_000);
  fault.recovered();
  expect((await countByRevision(database, ids))[0]).toBeUndefined();
  const jobs = await queue.getJobs(['waiting', 'delayed', 'active', 'failed']);
  expect(jobs.filter((job) => job.attemptsMade > 0)).toEqual([]);
  await witness.verify();
  await worker.said('Postgres is back');
  const outage = worker.lines.filter((line) => /Postgres is (unavailable|back)/.test(line));
  expect(outage).toHaveLength(2);
});
