import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { countJobs } from '../../shared/queue/refresh-queue.ts';
import { createExecutions, outboxRows, untilOutboxIsEmpty } from '../support/executions.ts';
import { expectNothingBroken, witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { controlledRedis } from '../support/server-control.ts';
import { slowRefreshes } from '../support/sabotage.ts';
import { settled } from '../support/settled.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const server = await controlledRedis();
afterAll(() => server.remove());
// The reconciler is off, so that it can't hide a hole.
const { config, database, redis, queue, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    LOCK_DURATION_MS: '3000',
    STALLED_INTERVAL_MS: '1000',
    RESEND_AFTER_MS: '1000',
    // Slow, so that a flush meets jobs that wait and jobs that run.
    WORKER_CONCURRENCY: '10',
  },
  redisUrl: server.url,
  capture: true,
});
const databaseUrl = config.DATABASE_URL;
const witness = await witnessRefreshes({ database, queue });

// The tasks of all executions change in each test.
beforeEach(() => database.query('TRUNCATE ledger'));

const SECOND_MS = 1_000;
/** Changes that each flush comes amid, however slowly they are written. */
const CHANGES_BEFORE = 4;
const between = (fromMs: number, toMs: number): number => fromMs + Math.random() * (toMs - fromMs);

/**
 * Changes tasks until it is stopped: from anything to a final status, from one final status to another,
 * to a newer end, and back to running.
 * @param onWritten called after each change
 */
async function write(
  ids: readonly number[],
  stop: AbortSignal,
  onWritten: () => void,
): Promise<void> {
  const client = await openClient(databaseUrl);
  while (!stop.aborted) {
    const some = Array.from({ length: 20 }, () => ids[Math.floor(Math.random() * ids.length)]);
    const status = ['Success', 'Error', 'Stopped', 'Running'][Math.floor(Math.random() * 4)];
    await client.query(
      `UPDATE task SET status = $2, end_time = clock_timestamp()
        WHERE id IN (SELECT min(id) FROM task WHERE execution_id = ANY ($1) GROUP BY execution_id)`,
      [some, status],
    );
    await client.query(
      `UPDATE task SET end_time = clock_timestamp() + interval '1 hour'
        WHERE id IN (SELECT max(id) FROM task WHERE execution_id = ANY ($1) GROUP BY execution_id)`,
      [some.slice(0, 5)],
    );
    onWritten();
  }
}

it.each([
  ['while workers run', false],
  ['while workers are frozen', true],
])('FLUSHALL at random moments %s loses no captured change', async (_name, freeze) => {
  const ids = await createExecutions(database, 1_000, ['Running', 'Success']);
  await startProducer(environment);
  const workers = [await startWorker(environment), await startWorker(environment)];
  const stop = new AbortController();
  let written = 0;
  const writing = write(ids, stop.signal, () => written++);
  for (let flushes = 0; flushes < 3; flushes++) {
    const before = written;
    // Before the freeze: a frozen worker may hold rows that the next change waits for.
    await until('tasks to change', () => written >= before + CHANGES_BEFORE);
    if (freeze) for (const worker of workers) worker.kill('SIGSTOP');
    // A sleep, because nothing is waited for: the moment of the flush is drawn.
    await delay(between(0.2, 1.2) * SECOND_MS);
    await redis.flushall();
    if (freeze) for (const worker of workers) worker.kill('SIGCONT');
  }
  stop.abort();
  await writing;
  // Once more with nothing after it that could hide a loss: from one final status to another, whose jobs
  // are lost while they wait or run.
  await database.query(`UPDATE task SET status = 'Success', end_time = clock_timestamp()`);
  await untilOutboxIsEmpty(database, 40_000);
  // A row goes a moment before its job is done; a job that a frozen worker has would keep the next one from waiting.
  await until('no job to run', () => settled(queue));
  // Nor may running workers do all of it before the flush.
  const slowness = await slowRefreshes(database, 100, { each: 'STATEMENT' });
  if (freeze) for (const worker of workers) worker.kill('SIGSTOP');
  await database.query(
    `UPDATE task SET status = 'Error', end_time = end_time + interval '1 minute'`,
  );
  await until('its jobs to be on the queue', async () => {
    return (await countJobs(queue)).waiting > (freeze ? ids.length - 1 : ids.length / 10);
  });
  const fault = injectFault(5, 'FLUSHALL at random moments while tasks change');
  await redis.flushall();
  expect(await outboxRows(database)).toBeGreaterThan(0);
  if (freeze) for (const worker of workers) worker.kill('SIGCONT');
  await slowness.end();
  await untilOutboxIsEmpty(database, 40_000);
  fault.recovered();
  await expectNothingBroken({ database, queue });
  const [stored] = await database.query<{ count: number }>(
    `SELECT count(*) AS count FROM execution WHERE id = ANY ($1) AND status = 'Error'`,
    [ids],
  );
  expect(stored?.count).toBe(ids.length);
  expect(await queue.getFailedCount()).toBe(0);
  await witness.change(ids);
  await witness.verify();
});
