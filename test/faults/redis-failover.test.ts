import { Redis } from 'ioredis';
import { afterAll, expect, it } from 'vitest';
import { countJobs, relayMarkerKey } from '../../shared/queue/refresh-queue.ts';
import { createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { controlledRedis } from '../support/server-control.ts';
import { newRedis } from '../support/servers.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const primary = await controlledRedis();
const secondary = await newRedis();
// Replication goes through `link`, everybody else through `front`, which leads to the primary of the moment.
const link = await openProxy(primary.url);
const front = await openProxy(primary.url);
const replica = new Redis(secondary.url);
afterAll(async () => {
  replica.disconnect();
  await Promise.all([link.close(), front.close(), primary.remove(), secondary.stop()]);
});
const { database, redis, queue, config, environment } = await createStores({
  settings: { RESEND_AFTER_MS: '1000', RECONCILE_INTERVAL_MS: '0' },
  redisUrl: front.through(primary.url),
  capture: true,
});

async function replicate(): Promise<void> {
  const { port, password } = new URL(link.through(primary.url));
  await replica.config('SET', 'masterauth', password);
  await replica.replicaof('127.0.0.1', Number(port));
  // A replica that has never acknowledged is not in step with anything.
  await until('the replica to acknowledge a write', async () => {
    await redis.set(`${config.QUEUE_PREFIX}:written`, '1');
    return (await redis.wait(1, 500)) === 1;
  });
}

async function killPrimaryAndPromote(): Promise<void> {
  const pid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  process.kill(pid, 'SIGKILL');
  await replica.replicaof('NO', 'ONE');
  // Clients go on with the URL they have.
  await replica.config('SET', 'requirepass', new URL(primary.url).password);
  front.leadTo(secondary.url);
  front.reset();
}

it('acknowledged jobs that a failover loses are sent again after RESEND_AFTER_MS', async () => {
  const witness = await witnessRefreshes({ database, queue });
  const before = await createExecutions(database, 200);
  const producer = await startProducer(environment);
  await replicate();
  await witness.change(before);
  const waiting = (count: number) =>
    until(`${count} jobs to wait`, async () => (await countJobs(queue)).waiting === count);
  await waiting(200);
  // From here on the replica is behind: it keeps 200 jobs that are done, and never hears of the next 500.
  expect(await redis.wait(1, 5_000)).toBe(1);
  link.mode = 'swallow';
  const worker = await startWorker(environment);
  await waiting(0);
  worker.kill('SIGTERM');
  await worker.ended;
  const lost = await createExecutions(database, 300);
  await witness.change([...before, ...lost]);
  await waiting(500);
  const fault = injectFault(
    8,
    'a replica whose replication is swallowed, SIGKILL of the primary, promotion',
  );
  await killPrimaryAndPromote();

  expect(await replica.llen(`${config.QUEUE_PREFIX}:refresh:wait`)).toBe(200);
  // With its marker gone the relay would notice; here nothing tells it.
  expect(await replica.exists(relayMarkerKey(config))).toBe(1);
  await startWorker(environment);
  await witness.verify();
  fault.recovered();
  expect(await queue.getFailedCount()).toBe(0);
  await producer.said(/\d+ outbox rows were not refreshed in time and are sent again/);
  expect(producer.lines.filter((line) => line.includes('has lost the queue'))).toEqual([]);
});
