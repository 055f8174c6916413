import { afterAll, expect, inject, it } from 'vitest';
import { createExecutions, outboxRows } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const proxy = await openProxy(inject('redisUrl'));
afterAll(() => proxy.close());
const { database, queue, environment } = await createStores(
  // Locks may run out before the worker is back; then its jobs are taken back at the next look.
  { RECONCILE_INTERVAL_MS: '0', STALLED_INTERVAL_MS: '1000' },
  undefined,
  { capture: true },
);
const behindProxy = { ...environment, REDIS_URL: proxy.through(inject('redisUrl')) };

// The worker makes its connection anew after 12 s without an answer: most of what this test takes.
it('connections to Redis that die without a word, as when its host loses power: producer and worker make new ones', async () => {
  const witness = await witnessRefreshes(database);
  const producer = await startProducer(behindProxy);
  const worker = await startWorker(behindProxy);
  const ids = await createExecutions(database, 5_000);
  await until('some to be refreshed', async () => (await outboxRows(database)) < 4_500);
  proxy.mode = 'swallow';
  await producer.said('Redis is away');
  expect(await outboxRows(database)).toBeGreaterThan(0);
  await witness.change(ids.slice(0, 100));
  // From here on there is a Redis at the same address, and nobody tells the processes.
  proxy.mode = 'pass';
  await witness.verify(60_000);
  await producer.said('Redis is back');
  await worker.said('Redis is back');
  expect(await queue.getFailedCount()).toBe(0);
}, 120_000);
