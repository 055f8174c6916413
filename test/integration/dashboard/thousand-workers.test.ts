import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listWorkers } from '../../../dashboard/overview/worker-list.ts';
import { noActivity, recordActivity } from '../../../shared/queue/activity.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { runTally } from '../../support/processes.ts';
import { newRedis } from '../../support/servers.ts';
import { slowCommands } from '../../support/slow-log.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const WORKERS = 1_000;
const JOBS = 2_000;
const SLOW_MS = 50;

// Its commands are those of this file.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const stores = await createStores({ redisUrl: ownRedis.url });
const { queue, redis, config, environment } = stores;
const { url } = await serveDashboard(stores);
const heartbeat = { startedAt: '2026-01-02T03:04:05.000Z', concurrency: 200 };
const nameOf = (n: number): string => `host-${String(n).padStart(4, '0')}:1`;

const connections: Redis[] = [];
afterAll(() => connections.forEach((connection) => connection.disconnect()));

/**
 * Adds workers up to this many, as far as others see them: a connection of the name that BullMQ gives it, and a heartbeat.
 * Those who are there already give a new heartbeat, since one counts for a minute and a busy machine may take longer.
 */
async function haveWorkers(count: number): Promise<void> {
  const queueName = Buffer.from(queue.name).toString('base64');
  for (let n = 0; n < count; n++) {
    const connectionName = `${config.QUEUE_PREFIX}:${queueName}:w:${nameOf(n)}`;
    connections[n] ??= new Redis(ownRedis.url, { connectionName });
    await recordActivity(redis, config, { name: nameOf(n), heartbeat, activity: noActivity() });
  }
  await until('all to be connected', () => connections.every(({ status }) => status === 'ready'));
}

/** How often Redis ran each command during this work. */
async function callsDuring(work: () => Promise<unknown>): Promise<Map<string, number>> {
  await redis.config('RESETSTAT');
  await work();
  const stats = await redis.info('commandstats');
  return new Map(
    [...stats.matchAll(/^cmdstat_(.+?):calls=(\d+)/gm)].map(([, name = '', calls]) => [
      name,
      Number(calls),
    ]),
  );
}

/** What shows the workers, and what it says of a thousand. */
const SHOWN = [
  {
    show: async () => (await runTally(['status'], environment)).output,
    says: ['workers        1000', nameOf(0), nameOf(999)],
  },
  {
    show: async () => (await runTally(['doctor'], environment)).output,
    says: ['1000 connected'],
  },
  {
    show: async () => (await fetch(`${url}/overview`)).text(),
    says: [nameOf(0), nameOf(499), nameOf(999)],
  },
];

beforeAll(async () => {
  const pipeline = redis.pipeline();
  for (let job = 0; job < JOBS; job++) {
    pipeline.rpush(queue.toKey('active'), `job:${job}`);
    pipeline.hset(queue.toKey(`job:${job}`), {
      pb: nameOf(job % WORKERS),
      processedOn: 1_000_000 - job,
    });
  }
  await pipeline.exec();
});

it('tally status, tally doctor and the overview ask Redis no more for a thousand workers than for one', async () => {
  await haveWorkers(1);
  const forOne: number[] = [];
  for (const { show } of SHOWN) forOne.push(total(await callsDuring(show)));
  for (const [at, { show, says }] of SHOWN.entries()) {
    await haveWorkers(WORKERS);
    let text = '';
    const calls = await callsDuring(async () => {
      text = await show();
    });
    for (const said of says) expect(text).toContain(said);
    // A few more: what a connection or a page does now and then.
    expect(total(calls)).toBeLessThanOrEqual((forOne[at] ?? 0) + 10);
    expect(await slowCommands(redis, SLOW_MS, show)).toEqual([]);
  }
});

it('the heartbeats of a thousand workers are read in one command, with what each has in hand', async () => {
  await haveWorkers(WORKERS);
  const calls = await callsDuring(async () => {
    const workers = await listWorkers(queue, redis, config);
    expect(workers).toHaveLength(WORKERS);
    // Of the two jobs that each has, the later in the list began earlier.
    expect(workers[7]).toEqual({
      name: nameOf(7),
      since: heartbeat.startedAt,
      concurrency: 200,
      active: 2,
      longest: { jobId: 'job:1007', since: new Date(1_000_000 - 1_007).toISOString() },
    });
  });
  const asked = ['mget', 'get', 'client|list'].map((command) => calls.get(command) ?? 0);
  expect(asked).toEqual([1, 0, 1]);
  expect(calls.get('hmget')).toBeLessThanOrEqual(JOBS);
});

function total(calls: ReadonlyMap<string, number>): number {
  return [...calls.values()].reduce((sum, count) => sum + count, 0);
}
