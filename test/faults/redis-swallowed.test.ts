import { afterAll, expect, inject, it } from 'vitest';
import { createExecution, createExecutions, outboxRows, refreshOf } from '../support/executions.ts';
import { expectNothingBroken, witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { BUSY_MACHINE_MS, until } from '../support/wait.ts';

const NOTICED_MS = 10_000 + BUSY_MACHINE_MS;

const proxy = await openProxy(inject('redisUrl'));
afterAll(() => proxy.close());
const { database, queue, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    // Locks may run out before the worker is back; then its jobs are taken back at the next look.
    STALLED_INTERVAL_MS: '1000',
    // Its lane would do what is left in a moment, so that nothing is when Redis vanishes.
    BACKLOG_JOBS: '0',
  },
  capture: true,
});
const behindProxy = { ...environment, REDIS_URL: proxy.through(inject('redisUrl')) };

const witness = await witnessRefreshes({ database });

it('producer and worker replace connections to a Redis whose host has vanished', async () => {
  const producer = await startProducer(behindProxy);
  const worker = await startWorker(behindProxy);
  const ids = await createExecutions(database, 5_000);
  await until('some to be refreshed', async () => (await outboxRows(database)) < 4_500);
  proxy.mode = 'swallow';
  await Promise.all(
    [producer, worker].map((child) => child.said('Redis is unavailable', NOTICED_MS)),
  );
  expect(await outboxRows(database)).toBeGreaterThan(0);
  await witness.change(ids.slice(0, 100));
  // From here on there is a Redis at the same address, and nobody tells the processes.
  proxy.mode = 'pass';
  await witness.verify(60_000);
  await producer.said('Redis is back');
  await worker.said('Redis is back');
  await expectNothingBroken({ database, queue });
}, 120_000);

it('an idle worker whose connections died silently does its next job within ten seconds', async () => {
  await startProducer(environment);
  const worker = await startWorker(behindProxy);
  const id = await createExecution(database);
  await witness.change([id]);
  await witness.verify();
  let waits = false;
  proxy.watch = (chunk, from) => {
    if (waits || from === 'server' || !/bzpopmin[^]*:refresh:marker/.test(chunk.toString())) return;
    waits = true;
    proxy.silence();
  };
  // While it knows of a job that comes later, a worker waits the longest.
  const later = refreshOf(id);
  await queue.add('refresh', later, { delay: 600_000 });
  await until('it to wait for jobs', () => waits);
  await witness.change([id]);
  await witness.verify(NOTICED_MS);
  expect(worker.lines.join('\n')).toContain('Redis is unavailable');
  await queue.obliterate({ force: true });
});
