import { afterAll, expect, it } from 'vitest';
import { enableCapture } from '../../shared/postgres/capture.ts';
import { withClient, type Database } from '../../shared/postgres/database.ts';
import {
  createExecutions,
  outboxRows,
  untilOutboxHas,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { runTally, startProducer, startWorker, type TallyProcess } from '../support/processes.ts';
import { failRefreshes, lockExecutions } from '../support/sabotage.ts';
import { controlledPostgres, controlledRedis } from '../support/server-control.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const EXECUTIONS = 300_000;
const SPECIAL = 10;
/** What may pass before another row is gone. */
const STUCK_MS = 60_000;
/** Executions that change just before a fault. */
const CHANGED = 100;
const servers = await Promise.all([controlledPostgres(), controlledRedis()]);
const [postgres, redisServer] = servers;
afterAll(() => Promise.all(servers.map((server) => server.remove())));
const { database, redis, queue, environment } = await createStores({
  settings: {
    LOCK_DURATION_MS: '1000',
    STALLED_INTERVAL_MS: '500',
    JOB_ATTEMPTS: '1',
    RECONCILE_INTERVAL_MS: '0',
  },
  postgresUrl: postgres.url,
  redisUrl: redisServer.url,
});

it('a backlog of 300,000 survives kills, a flush, a restart, bad executions and locks', async () => {
  const fault = injectFault(
    45,
    'kills, a flush and restarts of both stores while 300,000 rows drain',
  );
  injectFault(17, 'ten executions whose update raises');
  const ids = await createExecutions(database, EXECUTIONS);
  const poison = ids.filter((_, n) => n % (EXECUTIONS / SPECIAL) === 123);
  const locked = ids.filter((_, n) => n % (EXECUTIONS / SPECIAL) === 456);
  // Not before: the requests of this test are all about one hour old.
  await withClient(environment.DATABASE_URL, 'test', enableCapture);
  const witness = await witnessRefreshes({ database, queue });
  const failure = await failRefreshes(database, 'poison', { ids: poison });
  // In parts, each of which ends within its time limit on a busy machine, too.
  for (let from = 0; from < EXECUTIONS; from += 50_000) {
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
       SELECT id, 'REPLICATION', 'api', clock_timestamp() - interval '1 hour' FROM unnest($1::bigint[]) AS id`,
      [ids.slice(from, from + 50_000)],
    );
  }
  const lock = () => lockExecutions(environment.DATABASE_URL, locked);
  let unlock = await lock();

  const workers: TallyProcess[] = [await startWorker(environment), await startWorker(environment)];
  let producer: TallyProcess = await startProducer(environment);
  const killWorker = async (nth: number): Promise<void> => {
    workers[nth]?.kill('SIGKILL');
    workers[nth] = await startWorker(environment);
  };
  const faults: (() => Promise<unknown>)[] = [
    () => killWorker(0),
    () => redis.flushall(),
    async () => {
      producer.kill('SIGKILL');
      producer = await startProducer(environment);
    },
    async () => {
      await postgres.stop();
      await postgres.start();
      unlock = await lock();
    },
    () => killWorker(1),
    async () => {
      await redisServer.stop();
      await redisServer.start();
    },
    () => Promise.all([killWorker(0), redis.flushall()]),
  ];
  for (const [nth, fault] of faults.entries()) {
    const left = EXECUTIONS * (1 - (nth + 1) / (faults.length + 1));
    await untilOutboxHas(database, left, STUCK_MS);
    // One that comes when all is done proves nothing.
    expect(await outboxRows(database)).toBeGreaterThan(SPECIAL);
    await witness.change(ids.slice(1_000 * nth, 1_000 * nth + CHANGED));
    await fault();
  }
  // All but the locked.
  await untilOutboxHas(database, SPECIAL, STUCK_MS);
  fault.over();
  await unlock();
  await untilOutboxIsEmpty(database, STUCK_MS);
  fault.recovered();

  // A lock that is held for more than twice ten seconds costs the only attempt. A busy machine takes that long.
  const failed = await failedIds(database);
  expect(failed.filter((id) => !locked.includes(id))).toEqual(poison);
  expect(await database.query('SELECT id FROM execution WHERE revision = 0 ORDER BY id')).toEqual(
    failed.map((id) => ({ id })),
  );
  await failure.end();
  expect((await runTally(['retry', '--all'], environment)).code).toBe(0);
  await until(
    'what had failed to be refreshed',
    async () => (await failedIds(database)).length === 0,
  );
  await witness.verify();
}, 900_000);

/** Whose failures stand. One that failed twice, beside a kill, may still have its older record. */
async function failedIds(database: Database): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    'SELECT execution_id AS id FROM tally.failure WHERE NOT refreshed AND NOT superseded ORDER BY execution_id',
  );
  return rows.map(({ id }) => id);
}
