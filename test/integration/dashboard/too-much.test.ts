import { afterAll, expect, it } from 'vitest';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { newRedis } from '../../support/servers.ts';
import { slowCommands } from '../../support/slow-log.ts';
import { createStores } from '../../support/stores.ts';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';

const JOBS = 20_000;
const CAP = 100;
const SLOW_MS = 50;

// What its slow log has is by this file alone.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const stores = await createStores({ redisUrl: ownRedis.url });
const { queue, redis } = stores;
const { url } = await serveDashboard(stores, WITH_PASSWORDS);
await enqueueRefreshes(
  queue,
  Array.from({ length: JOBS }, (_, n) => ({ executionId: n + 1, vendor: 'SCAN' })),
);

async function ask(path: string, who = VIEWER): Promise<{ status: number; jobs: number }> {
  const response = await fetch(`${url}${path}`, { headers: login(who) });
  const body = (await response.json()) as { queues?: { jobs: unknown[] }[] };
  return { status: response.status, jobs: body.queues?.[0]?.jobs.length ?? 0 };
}

const list = '/board/api/queues?activeQueue=refresh';

it.each([
  ...['300000', '101', '1e5', '0x64', '-1', '0', '', ' 5', '5.5', 'all'].map(
    (value) => `${list}&status=latest&jobsPerPage=${value}`,
  ),
  `${list}&status=waiting&jobsPerPage=50&jobsPerPage=300000`,
  `${list}&status=waiting&page=1e9&jobsPerPage=50`,
  `${list}&status=waiting&page=99999999999&jobsPerPage=50`,
])('whoever asks for %s gets a sentence and no job is read', async (path) => {
  for (const who of [VIEWER, OPERATOR]) {
    let answer = { status: 0, jobs: 0 };
    await redis.config('RESETSTAT');
    const slow = await slowCommands(redis, SLOW_MS, async () => (answer = await ask(path, who)));
    expect(slow).toEqual([]);
    expect(answer).toEqual({ status: 400, jobs: 0 });
    expect(await redis.info('commandstats')).not.toMatch(/cmdstat_(hgetall|lrange|evalsha|eval):/);
  }
});

it.each(['latest', 'waiting'])(
  'a page of %s jobs among 20,000 reads only what it shows',
  async (status) => {
    const slow = await slowCommands(redis, SLOW_MS, async () => {
      await redis.config('RESETSTAT');
      const answer = await ask(`${list}&status=${status}&page=150&jobsPerPage=${CAP}`);
      expect(answer).toEqual({ status: 200, jobs: CAP });
    });
    expect(slow).toEqual([]);
    // BullMQ reads the hash of a job at most twice.
    const read = /cmdstat_hgetall:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1];
    expect(Number(read)).toBeLessThanOrEqual(2 * CAP);
  },
);

it('a job with huge logs and texts that change the writing direction is shown cut and escaped', async () => {
  const [job] = await queue.getWaiting(0, 0);
  const id = job?.id ?? '';
  await redis.rpush(
    `${queue.toKey(id)}:logs`,
    ...Array.from({ length: 1_500 }, (_, n) => `line ${n}`),
  );
  await redis.hset(queue.toKey(id), 'failedReason', `\u202eevil\u0007 ${'x'.repeat(100_000)}`);
  const logs = await fetch(`${url}/board/api/queues/refresh/${encodeURIComponent(id)}/logs`, {
    headers: login(VIEWER),
  });
  expect((await logs.json()) as unknown[]).toHaveLength(1_000);
  const page = await fetch(`${url}/board/api/queues/refresh/${encodeURIComponent(id)}`, {
    headers: login(VIEWER),
  });
  const { job: shown } = (await page.json()) as { job: { failedReason: string } };
  expect(shown.failedReason.startsWith('\\u{202e}evil\\u{7} xxx')).toBe(true);
  expect(shown.failedReason.length).toBeLessThan(21_000);
});
