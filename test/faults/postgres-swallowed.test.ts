import { afterAll, expect, inject, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../shared/postgres/database.ts';
import { createRefreshMetrics, createRegistry } from '../../shared/process/metrics.ts';
import { connectRedis, settingsOf } from '../../shared/queue/redis.ts';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { ActivityLog } from '../../workers/activity-log.ts';
import { watchStores } from '../../workers/store-watches.ts';
import { Recorder } from '../../workers/recorder.ts';
import { createRefreshWorker } from '../../workers/refresh-worker.ts';
import {
  createExecutions,
  readExecution,
  refreshesOf,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { readyStatus } from '../support/health.ts';
import { expectNothingBroken, witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { askForRefreshes, askUntilAccepted } from '../support/refresh-api.ts';
import { createStores, silent } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { BUSY_MACHINE_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const proxy = await openProxy(inject('postgresUrl'));
afterAll(() => proxy.close());
const { config, database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const url = proxy.through(environment.DATABASE_URL);
const behindProxy = { ...environment, DATABASE_URL: url };

/** A worker of this process, with time limits that a test can wait for. */
function shortTempered() {
  const open = (connections: number) =>
    openDatabase(url, silent, {
      connections,
      name: 'short',
      statementTimeoutMs: 1_000,
      connectTimeoutMs: 500,
    });
  const limited = open(2);
  const redis = connectRedis(config, 'patient', silent);
  const activity = new ActivityLog(silent);
  const probe = async (): Promise<void> => {
    const fresh = open(1);
    try {
      await fresh.query('SELECT 1');
    } finally {
      await fresh.close();
    }
  };
  const probes = { postgres: probe, redis: () => Promise.resolve() };
  const stores = watchStores(probes, settingsOf(redis, config), silent);
  const worker = createRefreshWorker({
    config,
    redis,
    database: limited,
    stores,
    probe,
    recorder: new Recorder({ metrics: createRefreshMetrics(createRegistry()), log: activity }),
    log: silent,
    name: 'short',
  });
  onTestFinished(async () => {
    stores.postgres.close();
    stores.redis.close();
    await worker.close();
    activity.close();
    await limited.close();
    redis.disconnect();
  });
  return worker;
}

it('a statement that the network swallows is given up and repeated, at the cost of no slot or attempt', async () => {
  const ids = await createExecutions(database, 20);
  const worker = shortTempered();
  worker.start();
  await enqueueRefreshes(queue, refreshesOf(ids.slice(0, 1)));
  await until('a first one to be refreshed', async () => {
    const { revision } = await readExecution(database, ids[0] ?? 0);
    return revision === 1;
  });
  proxy.mode = 'swallow';
  await enqueueRefreshes(queue, refreshesOf(ids));
  await until('the jobs to be in hand', async () => (await countJobs(queue)).active > 0);
  // While the network still swallows everything: the statement is given up by its own limit.
  await until('no slot to be taken', async () => {
    const { waiting, active } = await countJobs(queue);
    return active === 0 && waiting === ids.length;
  });
  expect(worker.running).toBe(false);
  expect((await queue.getWaiting()).filter(({ attemptsMade }) => attemptsMade > 0)).toEqual([]);
  proxy.mode = 'pass';
  await until('all to be refreshed', async () => {
    const { waiting, active } = await countJobs(queue);
    return waiting + active === 0;
  });
  await expectNothingBroken({ database, queue });
  await until('the worker to be ready', () => worker.running);
});

it('while the network swallows Postgres the API answers 503 within 3 s, and work resumes by itself', async () => {
  const witness = await witnessRefreshes({ database, queue });
  const ids = await createExecutions(database, 20);
  const producer = await startProducer(behindProxy);
  const workersProxy = await openProxy(url);
  onTestFinished(() => workersProxy.close());
  const worker = await startWorker({ ...environment, DATABASE_URL: workersProxy.through(url) });
  const body = { refreshes: refreshesOf(ids) };
  await askUntilAccepted(producer.url, body);
  await untilOutboxIsEmpty(database);

  // The worker has no connection left, so that its statement has to make one.
  const fault = injectFault(13, 'a proxy that swallows every byte');
  workersProxy.reset();
  proxy.mode = 'swallow';
  await enqueueRefreshes(queue, refreshesOf(ids));
  // The API, first over a connection that exists and then over one that has to be made.
  for (let times = 0; times < 2; times++) {
    const begin = performance.now();
    expect((await askForRefreshes(producer.url, body)).status).toBe(503);
    expect(performance.now() - begin).toBeLessThan(3_000 + BUSY_MACHINE_MS);
  }
  await worker.said('Postgres is unavailable');
  expect(await readyStatus(worker)).toBe(503);
  expect(await countJobs(queue)).toMatchObject({ failed: 0, delayed: 0 });
  await witness.change(ids);
  fault.over();
  proxy.mode = 'pass';
  // What the network does with connections that the other end no longer knows. Without that the relay would find out after
  // the 34.5 s of its statement.
  proxy.reset();
  await witness.verify();
  fault.recovered();
  await worker.said('Postgres is back');
  await askUntilAccepted(producer.url, body);
});
