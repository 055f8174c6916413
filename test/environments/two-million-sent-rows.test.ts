import { afterAll, expect, it } from 'vitest';
import { relayMarkerKey } from '../../shared/queue/refresh-queue.ts';
import { createExecutions, outboxRows } from '../support/executions.ts';
import { injectFault } from '../support/fault.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { untilReady } from '../support/health.ts';
import { errorsOf, runTally, startProducer, startWorker } from '../support/processes.ts';
import { newPostgres, newRedis } from '../support/servers.ts';
import { costOf, peakMegabytes, watchOutboxStatements } from '../support/statement-cost.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const ROWS = 2_000_000;
const INSERTED_AT_ONCE = 250_000;
// More than the queue takes, so that the walk ends at the limit and not at the last execution.
const EXECUTIONS = 100_000;
const HIGH_WATER = 40_000;

/** Rows that the relay may claim in a statement. */
const STATEMENT_ROWS = 1_000;
const MEMORY_MB = 250;
/** What may pass before another row is gone. */
const DRAINED_MS = 60_000;

const servers = await Promise.all([newPostgres(), newRedis()]);
afterAll(() => Promise.all(servers.map((server) => server.stop())));
const { config, database, environment, queue, redis } = await createStores({
  settings: {
    QUEUE_HIGH_WATER: String(HIGH_WATER),
    RECONCILE_INTERVAL_MS: '0',
    // Only the loss of Redis is a reason to send a row again.
    RESEND_AFTER_MS: '3600000',
  },
  postgresUrl: servers[0].url,
  redisUrl: servers[1].url,
});

// The last one has no row at first.
const [first = 0] = await createExecutions(database, EXECUTIONS + 1);

async function insertSentRows(): Promise<void> {
  for (let from = 0; from < ROWS; from += INSERTED_AT_ONCE) {
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at, sent_at)
       SELECT $4::bigint + n % $1, 'REPLICATION', 'capture', clock_timestamp(), clock_timestamp()
         FROM generate_series($2::bigint, $3::bigint) AS n`,
      [EXECUTIONS, from, from + INSERTED_AT_ONCE - 1, first],
    );
  }
  await database.query('ANALYZE tally.outbox');
}

it('two million sent rows are sent again page by page after a FLUSHALL, beside new changes, and refreshed once workers run', async () => {
  const producer = await startProducer(environment);
  await until('the marker of the relay', () => redis.exists(relayMarkerKey(config)));
  await insertSentRows();
  expect(await queue.getWaitingCount()).toBe(0);
  const most = await watchOutboxStatements(database);

  const fault = injectFault(
    38,
    `${ROWS.toLocaleString('en')} sent rows, then FLUSHALL, then workers`,
  );
  await redis.flushall();
  await until('the first rows to be sent again', () => queue.getWaitingCount(), 30_000);
  const fresh = first + EXECUTIONS;
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, due_at) VALUES ($1, 'REPLICATION', 'capture', clock_timestamp())`,
    [fresh],
  );
  await until(
    'the new change to be on the queue',
    () => queue.getDeduplicationJobId(`${fresh}:REPLICATION`),
    10_000,
  );
  await until(
    'the queue to be full',
    async () => (await queue.getWaitingCount()) >= HIGH_WATER,
    90_000,
  );
  await producer.said('at its high-water mark');
  await untilReady(producer);
  expect(peakMegabytes(producer.pid)).toBeLessThan(MEMORY_MB);
  expect(errorsOf(producer.lines)).toEqual([]);
  expect((await most()).updated).toBe(STATEMENT_ROWS);
  expect(await outboxRows(database)).toBe(ROWS + 1);

  fault.over();
  const workers = [await startWorker(environment), await startWorker(environment)];
  await expectNothingBroken({ database, queue }, DRAINED_MS);
  fault.recovered();
  for (const { pid, lines } of workers) {
    expect(peakMegabytes(pid)).toBeLessThan(MEMORY_MB);
    expect(errorsOf(lines)).toEqual([]);
  }
}, 600_000);

it('two million rows are uninstalled only by force', async () => {
  await insertSentRows();
  const { result: refused, cost } = await costOf(database, () =>
    runTally(['migrate', '--uninstall'], environment),
  );
  expect(refused).toMatchObject({ code: 1, output: expect.stringContaining('more than 100000') });
  // It stops counting at 100,001 rows; the whole table has over 20,000 pages.
  expect(cost.widest.pages, cost.widest.query).toBeLessThan(8_000);
  expect(await runTally(['migrate', '--uninstall', '--force'], environment)).toMatchObject({
    code: 0,
  });
}, 300_000);
