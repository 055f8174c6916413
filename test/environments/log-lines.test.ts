import { afterAll, beforeEach, expect, it } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { createExecutions, refreshesOf } from '../support/executions.ts';
import { runTally, startProducer, startWorker } from '../support/processes.ts';
import { failRefreshes, sabotage } from '../support/sabotage.ts';
import { controlledPostgres, controlledRedis } from '../support/server-control.ts';
import { createStores, openClient } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const postgres = await controlledPostgres();
afterAll(() => postgres.remove());
const redisServer = await controlledRedis();
afterAll(() => redisServer.remove());
const { database, redis, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '1000', JOB_ATTEMPTS: '1' },
  postgresUrl: postgres.url,
  redisUrl: redisServer.url,
});
const proxy = await openProxy(postgres.url);
afterAll(() => proxy.close());

beforeEach(() => database.query('TRUNCATE execution, task, tally.outbox, tally.failure'));

async function record(executions: number): Promise<void> {
  await recordAll(await createExecutions(database, executions));
}

async function recordAll(ids: readonly number[]): Promise<void> {
  await recordRefreshes(database, refreshesOf(ids), 'api');
}

async function allSent(): Promise<void> {
  await until('all rows to be sent', async () => {
    const [unsent] = await database.query<{ rows: number }>(
      'SELECT count(*) AS rows FROM tally.outbox WHERE sent_at IS NULL',
    );
    return unsent?.rows === 0;
  });
}

it('a producer logs what it lacks, and which rows it sends again and why', async () => {
  await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const producer = await startProducer({
    ...environment,
    DATABASE_URL: proxy.through(environment.DATABASE_URL),
    HTTP_HOST: '0.0.0.0',
  });
  await producer.said('the API is off: it would listen beyond this machine; set API_TOKEN');
  await producer.said(
    'Redis may evict jobs (maxmemory-policy allkeys-lru); run: redis-cli CONFIG SET',
  );
  await redis.config('SET', 'maxmemory-policy', 'noeviction');
  await producer.said('sending outbox rows to the queue');
  await record(100);
  await allSent();
  // Rows are marked before their jobs are added: a Redis that is emptied in between has lost nothing.
  await until('their jobs to wait', async () => (await queue.getWaitingCount()) === 100);
  await redis.flushall();
  await producer.said('Redis has lost the queue; the outbox rows that were sent are sent again');
  await producer.said(/sent \d+ outbox rows again within [\d.]+ s/);
  // The answer to the next claim, which says that rows are marked as sent, never comes.
  proxy.watch = (chunk, from) => {
    const text = chunk.toString('latin1');
    // By the columns: each loop's answers come over these connections.
    if (from === 'client' || !text.includes('rowId') || !/UPDATE [1-9]/.test(text)) return;
    proxy.watch = undefined;
    proxy.reset();
  };
  // Few enough for the answer to come in one piece.
  await record(30);
  await producer.said(/\d+ outbox rows may not have been sent before and are sent again/);
  producer.kill('SIGTERM');
  await producer.said('stopping (SIGTERM)');
  expect((await producer.ended).code).toBe(0);
});

it('each loop that needs an unavailable store logs the outage and its end', async () => {
  const [producer, worker] = [await startProducer(environment), await startWorker(environment)];
  await postgres.stop();
  await producer.said('the outbox in Postgres is unavailable: ');
  await producer.said('the reconciler is unavailable: ');
  await worker.said('the failed-janitor is unavailable: ');
  await postgres.start();
  await producer.said(/the outbox in Postgres is back after [\d.]+ s/);
  await redisServer.stop();
  await worker.said('Redis is unavailable: ');
  await redisServer.start();
  await worker.said(/Redis is back after [\d.]+ s/);
});

it("a producer whose commits don't finish isn't ready, and logs it and when they finish again", async () => {
  const producer = await startProducer(environment);
  const isReady = async (): Promise<boolean> => (await fetch(`${producer.url}/readyz`)).ok;
  await until('the producer to be ready', isReady);
  const holder = await openClient(environment.DATABASE_URL);
  await holder.query('BEGIN; LOCK TABLE tally.outbox IN EXCLUSIVE MODE');
  await until('the producer not to be ready', async () => !(await isReady()));
  await producer.said("not ready: Postgres can't finish a commit: ");
  await holder.query('ROLLBACK');
  await until('the producer to be ready again', isReady);
  await producer.said(/ready: Postgres finishes commits again after [\d.]+ s/);
});

it('a failure that Postgres refuses to record is logged with the reason', async () => {
  await startProducer(environment);
  const worker = await startWorker(environment);
  const ids = await createExecutions(database, 1);
  await failRefreshes(database, 'not in execution', { sqlState: 'check_violation' });
  await sabotage(database, `RAISE check_violation USING MESSAGE = 'not in tally.failure'`, {
    event: 'BEFORE INSERT OR UPDATE ON tally.failure',
  });
  await recordAll(ids);
  await worker.said(
    /the failure of \d+:REPLICATION:[\w-]+ was not recorded: not in tally\.failure/,
  );
  // What was asked for stays recorded. The reconciler may have asked for the same.
  const asked = await database.query(`SELECT FROM tally.outbox WHERE source = 'api'`);
  expect(asked).toHaveLength(1);
});

it('a program that is newer than schema tally names the command that upgrades it', async () => {
  await database.query(
    'DELETE FROM tally.migration WHERE name = (SELECT max(name) FROM tally.migration)',
  );
  const { output } = await runTally(['status'], environment);
  expect(output).toContain('schema tally is older than this program; run: tally migrate');
});
