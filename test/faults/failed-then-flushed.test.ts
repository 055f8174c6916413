import { afterAll, expect, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { runTally, startProducer, startWorker } from '../support/processes.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { newRedis } from '../support/servers.ts';
import { createStores, type Stores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const newStores = (reconcileMs: string) =>
  createStores({
    settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: reconcileMs },
    redisUrl: ownRedis.url,
    capture: true,
  });
const withoutReconciler = await newStores('0');
const withReconciler = await newStores('200');
const agedOut = await newStores('0');
const retriedTwice = await newStores('0');

interface Failed {
  readonly failed: number;
  readonly causes: readonly { readonly error: string; readonly examples: readonly unknown[] }[];
}

/** Makes one execution fail for good, loses its job, and removes the cause. @returns its id */
async function failThenLose(stores: Stores, lose: (stores: Stores) => unknown): Promise<number> {
  const { database, queue, environment } = stores;
  // Stored as Success where its task says Error: no reconciler may touch that, so only a retry puts it right.
  const id = await createExecution(database, ['Error']);
  await database.query(`UPDATE execution SET status = 'Success', end_time = '2026-01-01'`);
  // One row is all there is, sent once: one that was sent after the job began would be sent again, and put it right.
  await database.query('TRUNCATE tally.outbox');
  const failure = await failRefreshes(database, 'disk quota of tenant 7');
  await startProducer(environment);
  await startWorker(environment);
  await database.query(`UPDATE task SET end_time = end_time + interval '1 second'`);
  await until('it to fail', async () => (await queue.getFailedCount()) === 1);
  await lose(stores);
  await failure.end();
  return id;
}

const flush = ({ redis }: Stores): Promise<unknown> => redis.flushall();

/** Lets the job have failed in 1970. */
async function ageOut({ redis, queue }: Stores): Promise<void> {
  const [job] = await queue.getFailed();
  await redis.zadd(queue.toKey('failed'), 'XX', 1, job?.id ?? '');
  await until('a worker to remove it', async () => (await queue.getFailedCount()) === 0);
}

it.each([
  ['FLUSHALL', 'off', withoutReconciler, flush],
  ['FLUSHALL', 'on', withReconciler, flush],
  ['its job aged out', 'off', agedOut, ageOut],
])(
  'what failed for good is shown and can be retried after this: %s, with the reconciler %s',
  async (lost, _what, stores, lose) => {
    const fault = injectFault(34, `a failure for good, ${lost}, its cause removed`);
    const { database, environment } = stores;
    const { url } = await serveDashboard(stores);
    const id = await failThenLose(stores, lose);
    const failed = async () =>
      JSON.parse((await runTally(['failed', '--json'], environment)).output) as Failed;
    expect(await failed()).toMatchObject({
      failed: 1,
      causes: [
        {
          error: 'disk quota of tenant <n>',
          count: 1,
          vendors: ['REPLICATION'],
          examples: [{ identity: `${id}:REPLICATION` }],
        },
      ],
    });
    const status = await runTally(['status', '--json'], environment);
    expect(JSON.parse(status.output)).toMatchObject({ failures: 1 });
    const page = await fetch(`${url}/executions/${id}`, {
      headers: { accept: 'application/json' },
    });
    expect(await page.json()).toMatchObject({
      state: 'failed',
      failure: { attempts: 1, times: 1, error: 'disk quota of tenant 7', sqlState: 'P0001' },
      queue: { failed: [] },
    });
    const overview = await (await fetch(`${url}/overview`)).text();
    expect(overview).toContain('needs a person');
    expect(overview).toContain('disk quota of tenant &#60;n&#62;');
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 0 });

    fault.over();
    const select = ['retry', '--error', 'disk quota'];
    expect((await runTally([...select, '--dry-run'], environment)).output).toBe('would retry 1');
    expect((await runTally([...select, '--json'], environment)).output).toBe(
      '{"dryRun":false,"retried":1,"noRefresh":0}',
    );
    await until(
      'it to be refreshed',
      async () => (await readExecution(database, id)).status === 'Error',
    );
    fault.recovered();
    expect(await failed()).toEqual({ failed: 0, causes: [] });
    await expectNothingBroken(stores);
  },
);

it('a retry that Redis loses before a worker takes it can be retried again', async () => {
  const { database, queue, redis, environment } = retriedTwice;
  const id = await failThenLose(retriedTwice, flush);
  await queue.pause();
  for (let time = 0; time < 2; time++) {
    expect((await runTally(['retry', '--all'], environment)).output).toBe('retried 1');
    expect((await countJobs(queue)).waiting).toBe(1);
    await redis.flushall();
    await queue.pause();
  }
  expect((await runTally(['failed'], environment)).output).toContain('disk quota of tenant <n>');
  await queue.resume();
  await enqueueRefreshes(queue, [refreshOf(id)]);
  await until(
    'it to be refreshed',
    async () => (await readExecution(database, id)).status === 'Error',
  );
  expect((await runTally(['failed'], environment)).output).toBe('no failed jobs');
  await expectNothingBroken(retriedTwice);
});
