import { Redis } from 'ioredis';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { listWorkers } from '../../../dashboard/overview/worker-list.ts';
import { noActivity, recordActivity } from '../../../shared/queue/activity.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { newRedis } from '../../support/servers.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const WORKERS = 1_000;
const JOBS = 2_000;

// Its commands are those of this file.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const stores = await createStores({ redisUrl: ownRedis.url });
const { queue, redis, config } = stores;
const nameOf = (n: number): string => `host-${String(n).padStart(4, '0')}:1`;

it('the heartbeats of a thousand workers are read in one command, and each is on the overview', async () => {
  const queueName = Buffer.from(queue.name).toString('base64');
  // What BullMQ calls a worker's connection; no more of a worker is needed to be listed.
  const connections = Array.from(
    { length: WORKERS },
    (_none, n) =>
      new Redis(ownRedis.url, {
        connectionName: `${config.QUEUE_PREFIX}:${queueName}:w:${nameOf(n)}`,
      }),
  );
  onTestFinished(() => connections.forEach((connection) => connection.disconnect()));
  await until('all to be connected', () => connections.every(({ status }) => status === 'ready'));
  const heartbeat = { startedAt: '2026-01-02T03:04:05.000Z', concurrency: 200 };
  for (let n = 0; n < WORKERS; n++) {
    await recordActivity(redis, config, { name: nameOf(n), heartbeat, activity: noActivity() });
  }
  const pipeline = redis.pipeline();
  for (let job = 0; job < JOBS; job++) {
    pipeline.rpush(queue.toKey('active'), `job:${job}`);
    pipeline.hset(queue.toKey(`job:${job}`), {
      pb: nameOf(job % WORKERS),
      processedOn: 1_000_000 - job,
    });
  }
  await pipeline.exec();

  await redis.config('RESETSTAT');
  const workers = await listWorkers(queue, redis, config);
  const stats = await redis.info('commandstats');
  const callsOf = (command: string): number =>
    Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0);
  expect([callsOf('mget'), callsOf('get'), callsOf(String.raw`client\|list`)]).toEqual([1, 0, 1]);
  expect(callsOf('hmget')).toBeLessThanOrEqual(JOBS);
  expect(workers).toHaveLength(WORKERS);
  // Of the two jobs that each has, the later in the list began earlier.
  expect(workers[7]).toEqual({
    name: nameOf(7),
    since: heartbeat.startedAt,
    concurrency: 200,
    active: 2,
    longest: { jobId: 'job:1007', since: new Date(1_000_000 - 1_007).toISOString() },
  });

  const { url } = await serveDashboard(stores);
  const page = await (await fetch(`${url}/overview`)).text();
  for (const n of [0, 499, 999]) expect(page).toContain(nameOf(n));
});
