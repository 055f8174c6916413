import { EventEmitter, once } from 'node:events';
import { expect, it, onTestFinished, vi } from 'vitest';
import { noActivity, recordActivity } from '../../../shared/queue/activity.ts';
import { joinPoints, lagPercentile, readActivity } from '../../../shared/queue/activity-history.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import { ActivityHistory } from '../../../workers/activity-history.ts';
import { listWorkers } from '../../../dashboard/overview/worker-list.ts';
import { createExecutions, refreshesOf } from '../../support/executions.ts';
import { openWorker } from '../../support/in-process.ts';
import { startWorker } from '../../support/processes.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { database, redis, queue, config, environment } = await createStores({
  settings: {
    WORKER_CONCURRENCY: '17',
  },
});

// Takes up to twelve seconds: a history of ten seconds is told when they are over.
it('the dashboard knows what two workers did and that they live, until that is too old', async () => {
  const workers = [await startWorker(environment), await startWorker(environment)];
  const ids = await createExecutions(database, 30);
  const identities = refreshesOf(ids);
  await recordRefreshes(database, identities, 'api');
  await enqueueRefreshes(queue, identities);
  const online = await until('both to show themselves', async () => {
    const list = await listWorkers(queue, redis, config);
    return list.filter(({ concurrency }) => concurrency === 17).length === 2 ? list : undefined;
  });
  expect(
    online.map(({ name }) => Number(name.split(':').at(-1))).toSorted((a, b) => a - b),
  ).toEqual(workers.map(({ pid }) => pid).toSorted((a, b) => a - b));
  const history = await until('the history to have all of it', async () => {
    const { points } = await readActivity(redis, config, '1h');
    return joinPoints(points).express.refreshed === 30 ? points : undefined;
  });
  expect(history).toHaveLength(360);
  expect(joinPoints(history)).toMatchObject({ failed: 0, backlog: { refreshed: 0 } });
  const told = history.filter(({ express }) => express.refreshed > 0);
  for (const { express } of told) {
    expect(lagPercentile(express, 0.5)).toBeGreaterThan(0);
    expect(lagPercentile(express, 0.99)).toBeGreaterThanOrEqual(lagPercentile(express, 0.5) ?? 0);
  }
  const keys = (await redis.keys(`${config.QUEUE_PREFIX}:refresh-*`)).toSorted();
  expect(keys.length).toBeGreaterThanOrEqual(3);
  for (const key of keys) expect(await redis.ttl(key), key).toBeGreaterThan(0);
});

it("a worker that ends reports what it hasn't reported yet", async () => {
  const worker = await openWorker(environment);
  const ids = await createExecutions(database, 5);
  const before = (await allCounts()).refreshed;
  giveReportsTime();
  await enqueueRefreshes(queue, refreshesOf(ids));
  await until('all five to be done', () => {
    const done = worker.lines.map((line) => Number(/"refreshed":(\d+)/.exec(line)?.[1] ?? 0));
    return done.reduce((sum, count) => sum + count, 0) === 5;
  });
  await worker.stop();
  expect((await allCounts()).refreshed).toBe(before + 5);
});

it('a report under way at the end is followed by what was counted since it began', async () => {
  giveReportsTime();
  const before = (await allCounts()).refreshed;
  const own = redis.duplicate();
  onTestFinished(() => own.disconnect());
  const now = await redis.time();
  const answer = new EventEmitter();
  const clock = vi.spyOn(own, 'time').mockImplementationOnce(async () => {
    await once(answer, 'now');
    return now;
  });
  const history = new ActivityHistory(own, config, 'ends');
  history.refreshed('express', 1);
  await until('a report to be under way', () => clock.mock.calls.length > 0);
  history.refreshed('express', 1);
  const closed = history.close();
  answer.emit('now');
  await closed;
  expect((await allCounts()).refreshed).toBe(before + 2);
});

/** Whoever ends waits a second for its last report, which a busy machine may not be ready with. */
function giveReportsTime(): void {
  const limit = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(new AbortController().signal);
  onTestFinished(() => limit.mockRestore());
}

async function allCounts(): Promise<{ refreshed: number }> {
  let refreshed = 0;
  for (const key of await redis.keys(`${config.QUEUE_PREFIX}:refresh-activity:*`)) {
    refreshed += Number((await redis.hget(key, 'refreshed')) ?? 0);
  }
  return { refreshed };
}

it('a day is kept in points of five minutes, by lane, in less than a megabyte', async () => {
  const own = { ...config, QUEUE_PREFIX: `${config.QUEUE_PREFIX}-day` };
  const activity = noActivity();
  Object.assign(activity.express, { refreshed: 300, lags: activity.express.lags.map(() => 12) });
  Object.assign(activity.backlog, { refreshed: 600, lags: activity.backlog.lags.map(() => 24) });
  const heartbeat = { startedAt: new Date().toISOString(), concurrency: 1 };
  // By Redis' clock, moved: every ten seconds of a day and a half, and what has expired by then.
  const [now = 0] = (await redis.time()).map(Number);
  const clock = vi.spyOn(redis, 'time');
  onTestFinished(() => clock.mockRestore());
  for (let at = now - 129_600; at < now; at += 100) {
    clock.mockResolvedValue([at, 0]);
    await recordActivity(redis, own, { name: 'a', heartbeat, activity });
  }
  clock.mockRestore();
  let bytes = 0;
  for (const key of await redis.keys(`${own.QUEUE_PREFIX}:refresh-activity*`)) {
    const [, coarse, bucket] = /activity(-5min)?:(\d+)$/.exec(key) ?? [];
    const [width, kept] = coarse === undefined ? [10, 7_200] : [300, 90_000];
    expect(await redis.ttl(key)).toBeLessThanOrEqual(kept);
    if (Number(bucket) * width + kept < now) await redis.del(key);
    else bytes += (await redis.memory('USAGE', key)) ?? 0;
  }
  expect(bytes).toBeLessThan(1_000_000);

  const { points, recent } = await readActivity(redis, own, '24h');
  expect(points).toHaveLength(288);
  expect(recent).toHaveLength(6);
  const middle = points[100];
  expect(middle).toMatchObject({ seconds: 300, express: { refreshed: 900 }, failed: 0 });
  expect(middle?.backlog.refreshed).toBe(1_800);
  expect(middle && lagPercentile(middle.backlog, 0.5)).toBe(5_000);
  // The current five minutes are shown as far as they have come.
  expect(points.at(-1)?.seconds).toBeLessThanOrEqual(300);
  expect((points.at(-1)?.endMs ?? 0) / 1_000).toBeGreaterThan(now - 20);
  const quarter = await readActivity(redis, own, '15m');
  expect(quarter.points).toHaveLength(90);
  expect(joinPoints(quarter.points).express.refreshed).toBeGreaterThan(2_000);
});
