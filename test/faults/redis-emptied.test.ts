import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { createExecutions, outboxRows, untilOutboxIsEmpty } from '../support/executions.ts';
import { injectFault } from '../support/fault.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { startRedisServer } from '../support/redis-servers.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const server = await startRedisServer(() => ['appendonly yes', 'maxmemory-policy noeviction']);
afterAll(() => server.remove());
// The reconciler is off, so that it can't hide a hole.
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', BACKLOG_JOBS: '0' },
  redisUrl: `redis://127.0.0.1:${server.port}`,
  capture: true,
});

it('a Redis that is killed under load and comes back empty costs no change, and no process a restart', async () => {
  const witness = await witnessRefreshes({ database, queue });
  const ids = await createExecutions(database, 5_000);
  const [producer, worker] = await Promise.all([
    startProducer(environment),
    startWorker(environment),
  ]);
  await witness.change(ids);
  await until('some to be sent', async () => (await queue.getWaitingCount()) > 0);
  const fault = injectFault(4, 'SIGKILL of Redis under load, a start without its files');
  await server.kill();
  // What it had sent is lost, and nothing else tells the relay.
  expect(await outboxRows(database)).toBeGreaterThan(0);
  rmSync(join(server.folder, 'appendonlydir'), { recursive: true });
  await worker.said('Redis is unavailable');
  await witness.change(ids.slice(0, 100));
  await server.start();
  fault.over();
  await untilOutboxIsEmpty(database);
  fault.recovered();
  await witness.verify();
  await producer.said('has lost the queue');
  expect(await queue.getFailedCount()).toBe(0);
  expect(worker.lines.filter((line) => line.includes('failed for good'))).toEqual([]);
});
