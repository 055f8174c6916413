import { afterAll, describe, expect, it } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import {
  countByRevision,
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
  refreshOf,
  refreshesOf,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { readyStatus, untilReady } from '../support/health.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { askUntilAccepted } from '../support/refresh-api.ts';
import { controlledRedis } from '../support/server-control.ts';
import { createStores } from '../support/stores.ts';
import { BUSY_MACHINE_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const server = await controlledRedis();
afterAll(() => server.remove());
const { database, redis, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  redisUrl: server.url,
});

describe('a Redis that loses everything', () => {
  it('two FLUSHALLs amid 50,000 outbox rows lose none, and each refresh sees the newest tasks', async () => {
    const ids = await createExecutions(database, 50_000, ['Running']);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await startProducer(environment);
    await startWorker(environment);
    await startWorker(environment);
    for (const left of [40_000, 20_000]) {
      await until('some to be refreshed', async () => (await outboxRows(database)) < left);
      await database.query(
        `WITH changed AS (
           UPDATE task SET status = 'Success' WHERE id % 10 = $1 RETURNING execution_id, vendor_type)
         INSERT INTO tally.outbox (execution_id, vendor, source)
         SELECT execution_id, vendor_type, 'capture' FROM changed`,
        [left / 20_000],
      );
      await redis.flushall();
    }
    const fault = injectFault(5, 'FLUSHALL twice amid 50,000 outbox rows');
    await untilOutboxIsEmpty(database, 50_000);
    fault.recovered();
    expect((await countByRevision(database, ids))[0]).toBeUndefined();
    await expectNothingBroken({ database, queue });
  });
});

describe('an unavailable Redis', () => {
  it('delays accepted refreshes until it is back', async () => {
    const id = await createExecution(database);
    const producer = await startProducer(environment);
    const worker = await startWorker(environment);
    await server.stop();
    await producer.said('Redis is unavailable');
    const answer = await askUntilAccepted(producer.url, refreshOf(id));
    expect(await answer.json()).toEqual({ accepted: 1 });
    await untilReady(producer);
    await server.start();
    await until(
      'it to be refreshed',
      async () => (await readExecution(database, id)).revision === 1,
    );
    await worker.said('Redis is back');
    // A job that its worker couldn't end any more would wait for a minute in the next test.
    await expectNothingBroken({ database, queue });
  });

  it('keeps a worker that starts without it trying, not ready, until it comes', async () => {
    const fault = injectFault(9, 'a worker started while no Redis listens');
    await server.stop();
    const worker = startTally(['worker'], environment);
    await worker.said('Redis is unavailable');
    expect(await readyStatus(worker)).toBe(503);
    fault.over();
    await server.start();
    await worker.said('taking jobs');
    await untilReady(worker);
    const id = await createExecution(database);
    await startProducer(environment);
    await recordRefreshes(database, refreshesOf([id]), 'api');
    await until('it to refresh', async () => (await readExecution(database, id)).revision === 1);
    fault.recovered();
    await expectNothingBroken({ database, queue });
  });

  it('ends tally enqueue within 5 s with one line that says what to do', async () => {
    injectFault(9, 'tally enqueue while nothing listens');
    const begin = performance.now();
    const { code, output } = await runTally(['enqueue', '42:REPLICATION'], {
      ...environment,
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(performance.now() - begin).toBeLessThan(5_000 + BUSY_MACHINE_MS);
    expect(code).toBe(1);
    expect(output.split('\n')).toHaveLength(1);
    expect(output).toContain('REDIS_URL');
  });

  it('without free memory is logged once by the relay, which keeps its rows until there is room', async () => {
    const ids = await createExecutions(database, 100);
    const producer = await startProducer(environment);
    await startWorker(environment);
    await until('the relay to be at work', () =>
      redis.exists(`${environment['QUEUE_PREFIX']}:refresh-relay`),
    );
    const fault = injectFault(6, 'CONFIG SET maxmemory 1');
    await redis.config('SET', 'maxmemory', '1');
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await producer.said('the queue in Redis is unavailable');
    expect(await outboxRows(database)).toBe(100);
    fault.over();
    await redis.config('SET', 'maxmemory', '0');
    await untilOutboxIsEmpty(database);
    fault.recovered();
    await producer.said('the queue in Redis is back');
    await expectNothingBroken({ database, queue });
    expect(
      producer.lines.filter((line) => line.includes('queue in Redis is unavailable')),
    ).toHaveLength(1);
  });
});
