import { expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { watchActiveJobs } from '../support/active-jobs.ts';
import { createExecutions, refreshesOf } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { keepDoing } from '../support/keep-doing.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { sabotage } from '../support/sabotage.ts';
import { allSettled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const EXECUTIONS = 30;
// The load ends when each of the operator's ways has retried this often.
const TIMES = { all: 10, single: 10, commands: 2 };
type Way = keyof typeof TIMES;
const WAYS = Object.keys(TIMES) as Way[];
const { database, queue, redis, environment } = await createStores({
  // The reconciler would repair what a retry loses; each execution is sent as often as it changes.
  settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: '0', REFRESH_INTERVAL_MS: '0' },
  capture: true,
});
const isDone = () => allSettled({ queue, database });

/** Makes each update of an execution take 15 ms, and fail with the probability that is set. */
async function installFailures() {
  await database.query('CREATE TABLE failing (probability float NOT NULL)');
  await database.query('INSERT INTO failing VALUES (0)');
  await sabotage(
    database,
    `PERFORM pg_sleep(0.015);
     IF random() < (SELECT probability FROM failing) THEN RAISE EXCEPTION 'failed at random'; END IF`,
    { each: 'STATEMENT' },
  );
  return (probability: number) =>
    database.query('UPDATE failing SET probability = $1', [probability]);
}

/**
 * Changes tasks at random; a change whose refresh is lost leaves a status that differs.
 * @param statuses how many of the four are drawn from; with three, all of them final, what is stored
 *   is always out of date, at least by its end
 */
async function changeTasks(executionIds: readonly number[], statuses: 3 | 4 = 4): Promise<void> {
  await database.query(
    `UPDATE task SET end_time = clock_timestamp(),
            status = (ARRAY['Success', 'Error', 'Stopped', 'Running'])[1 + floor(random() * $2)]
      WHERE execution_id = ANY ($1)`,
    [executionIds, statuses],
  );
}

it('retrying in a loop under load loses nothing and never runs two jobs of an execution at once', async () => {
  const ids = await createExecutions(database, EXECUTIONS, ['Running', 'Running']);
  const setFailures = await installFailures();
  const some = (count: number) => ids.toSorted(() => Math.random() - 0.5).slice(0, count);
  const processes = await Promise.all([
    startProducer(environment),
    startWorker(environment),
    startWorker(environment),
  ]);
  const dashboard = startTally(['dashboard'], environment);
  const board = /http:\S+?(?=")/.exec(await dashboard.said('dashboard: http'))?.[0] ?? '';
  const put = (path: string) =>
    fetch(`${board}/api/queues/refresh/${path}`, { method: 'PUT' }).then(({ ok }) => (ok ? 1 : 0));

  await setFailures(0.4);
  const fault = injectFault(
    27,
    'retries by the board and the command line while 40 % of the refreshes fail',
  );
  const seenJobs = watchActiveJobs(queue);
  const done = { all: 0, single: 0, commands: 0 };
  const enough = () =>
    done.all >= TIMES.all && done.single >= TIMES.single && done.commands >= TIMES.commands;
  // On a machine so busy that a command takes many seconds, the quick ways would leave it nothing to retry: a way that is
  // ahead waits until the slowest has come as far. Half of each runs beside the others all the same.
  const share = (way: Way) => done[way] / TIMES[way];
  const isAhead = (way: Way) => share(way) >= Math.min(...WAYS.map(share)) + 0.5;
  const load = [
    keepDoing(5, () => changeTasks(some(4))),
    keepDoing(5, () => enqueueRefreshes(queue, refreshesOf(some(5)))),
    keepDoing(300, async () => {
      if (!isAhead('all')) done.all += await put('retry/failed');
    }),
    keepDoing(50, async () => {
      if (isAhead('single')) return;
      const [jobId] = await redis.zrevrange(queue.toKey('failed'), 0, 0);
      if (jobId !== undefined) done.single += await put(`${encodeURIComponent(jobId)}/retry`);
    }),
    keepDoing(0, async () => {
      const { output } = await runTally(['retry', '--all'], environment);
      done.commands += Number(/^retried (\d+)/.exec(output)?.[1]) > 0 ? 1 : 0;
    }),
  ];
  await until(() => `each way to retry, so far ${JSON.stringify(done)}`, enough, 100_000);
  await Promise.all(load.map((end) => end()));

  fault.over();
  await setFailures(0);
  await runTally(['retry', '--all'], environment);
  await until('all to be done', isDone);
  fault.recovered();
  const { twice, busyLooks } = seenJobs();
  expect(twice).toEqual([]);
  expect(busyLooks).toBeGreaterThan(100);
  // A job that failed before another refresh of its execution succeeded needs no retry; the janitor removes it.
  await askJanitor();
  await expectNothingBroken({ database, queue });

  // Now every refresh fails, then half of the executions change again and are refreshed.
  // To final statuses: where a running execution goes on running, a failure needs nobody.
  await setFailures(1);
  await changeTasks(ids, 3);
  await until('all to fail', async () => (await failedIds()).size === EXECUTIONS);
  await until('the last try', isDone);
  await setFailures(0);
  const changed = ids.filter((_id, index) => index % 2 === 0);
  await changeTasks(changed);
  await until('the changes to be refreshed', isDone);
  await askJanitor();
  const others = ids.filter((_id, index) => index % 2 === 1);
  await until(
    'the failed jobs of these to go',
    async () => (await failedIds()).size === others.length,
  );
  expect([...(await failedIds())].toSorted((a, b) => a - b)).toEqual(others);
  const { output } = await runTally(['retry', '--all'], environment);
  expect(output).toBe(`retried ${others.length}`);
  await until('these to be refreshed', isDone);
  await expectNothingBroken({ database, queue });
  for (const child of processes) child.kill('SIGTERM');
  expect((await Promise.all(processes.map(({ ended }) => ended))).map(({ code }) => code)).toEqual([
    0, 0, 0,
  ]);
}, 240_000);

/** Lets a janitor look now, however lately another one has. */
async function askJanitor(): Promise<void> {
  await database.query("DELETE FROM tally.lease WHERE duty = 'failed-janitor'");
}

async function failedIds(): Promise<Set<number>> {
  return new Set((await queue.getFailed()).map((job) => job.data.executionId));
}
