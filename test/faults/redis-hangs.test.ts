import { afterAll, expect, inject, it } from 'vitest';
import {
  countByRevision,
  createExecutions,
  outboxRows,
  refreshesOf,
} from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { runTally, startProducer, startWorker } from '../support/processes.ts';
import { askUntilAccepted } from '../support/refresh-api.ts';
import { allSettled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { BUSY_MACHINE_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const proxy = await openProxy(inject('redisUrl'));
afterAll(() => proxy.close());
const { database, queue, environment } = await createStores({
  // The backlog lane could drain all of it between two looks of the test.
  settings: { RECONCILE_INTERVAL_MS: '0', BACKLOG_JOBS: '0' },
  capture: true,
});
const behindProxy = { ...environment, REDIS_URL: proxy.through(inject('redisUrl')) };
const CLAIM_LIMIT = 1_000;

it('while Redis hangs under load the API accepts refreshes, and work resumes without repeating any', async () => {
  const witness = await witnessRefreshes({ database, queue });
  const producer = await startProducer(behindProxy);
  await startWorker(behindProxy);
  const ids = await createExecutions(database, 8_000);
  const left = await until('some to be refreshed', async () => {
    const rows = await outboxRows(database);
    return rows < 6_000 && rows;
  });
  expect(left).toBeGreaterThan(CLAIM_LIMIT);
  const fault = injectFault(10, 'a proxy that passes no byte on');
  proxy.mode = 'hold';

  const begin = performance.now();
  const command = runTally(['enqueue', '42:REPLICATION'], behindProxy).then((ended) => ({
    ...ended,
    tookMs: performance.now() - begin,
  }));
  const asked = await createExecutions(database, 5);
  const refreshes = refreshesOf(asked);
  for (let times = 0; times < 10; times++) {
    // It comes while Redis still hangs, as the end of the command below does.
    await askUntilAccepted(producer.url, { refreshes });
  }
  const { code, output, tookMs } = await command;
  expect(tookMs).toBeLessThan(5_000 + BUSY_MACHINE_MS);
  expect(code).toBe(1);
  expect(output.split('\n')).toHaveLength(1);
  expect(output).toContain('REDIS_URL');
  // The relay's own time limit is over, too, and what it had sent lies before Redis.
  await producer.said('Redis is unavailable');
  fault.over();
  proxy.mode = 'pass';

  await until('all to be refreshed', () => allSettled({ queue, database }));
  fault.recovered();
  await producer.said('Redis is back');
  // Asked for ten times while Redis hung, and sent once: the outbox had all of it.
  expect(await countByRevision(database, asked)).toEqual({ 1: 5 });
  // At least once: of the chunk that the relay had in hand it can't know whether Redis took it, so it sends that again.
  const { 1: once = 0, 2: twice = 0, ...others } = await countByRevision(database, ids);
  expect(others).toEqual({});
  expect(once + twice).toBe(ids.length);
  expect(twice).toBeLessThanOrEqual(CLAIM_LIMIT);
  expect(await queue.getFailedCount()).toBe(0);
  await witness.change([...ids.slice(0, 50), ...asked]);
  await witness.verify();
});
