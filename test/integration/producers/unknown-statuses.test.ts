import { expect, it } from 'vitest';
import type { Database } from '../../../shared/postgres/database.ts';
import { openDatabase } from '../../../shared/postgres/database.ts';
import { findUnknownStatuses, KNOWN_STATUSES } from '../../../shared/postgres/unknown-statuses.ts';
import { createExecutions } from '../../support/executions.ts';
import { startProducer } from '../../support/processes.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';
import { injectFault } from '../../support/fault.ts';
import { until } from '../../support/wait.ts';

const { config, database, environment } = await createStores();

it('a producer counts the tasks whose status the rule does not know, by vendor, until there are none', async () => {
  injectFault(19, 'tasks of a status that the rule does not know');
  await createExecutions(database, 2, [...KNOWN_STATUSES, 'Weird', 'success']);
  await createExecutions(database, 1, ['Weird']);
  const producer = await startProducer(environment);
  const series = async (): Promise<string[]> =>
    (await (await fetch(`${producer.url}/metrics`)).text())
      .split('\n')
      .filter((line) => line.startsWith('tally_unknown_status_tasks'));
  // A look that a busy machine doesn't end in time is given up, and the scrape is without the series.
  const counted = await until('the series', async () => {
    const lines = await series();
    return lines.length > 0 ? lines : undefined;
  });
  expect(counted).toEqual(['tally_unknown_status_tasks{vendor="REPLICATION"} 5']);
  await database.query(`UPDATE task SET status = 'Success' WHERE status IN ('Weird', 'success')`);
  expect(await series()).toEqual([]);
});

it('while the table task is locked, a scrape gives every other figure at once', async () => {
  const producer = await startProducer(environment);
  const locker = await openClient(config.DATABASE_URL);
  await locker.query('BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE');
  // It comes while the lock is still held: the look at the table is given up, not waited for.
  const text = await (await fetch(`${producer.url}/metrics`)).text();
  expect(text).toMatch(/^tally_outbox_rows \d+$/m);
  expect(text).not.toMatch(/^tally_unknown_status_tasks\{/m);
});

it('a look at the statuses reads 10,000 tasks at most, by an index, however many there are', async () => {
  await createExecutions(
    database,
    1_200,
    Array.from({ length: 20 }, () => 'Success'),
  );
  const [oldest = 0] = await createExecutions(database, 1, ['Weird']);
  await createExecutions(
    database,
    100,
    Array.from({ length: 50 }, () => 'Success'),
  );
  const own = openDatabase(config.DATABASE_URL, silent, { connections: 1, name: 'test' });
  const read: Record<string, unknown>[] = [];
  // In the transaction of the look itself, since the server counts for all later on.
  const counting: Pick<Database, 'query'> = {
    async query<Row extends Record<string, unknown>>(
      sql: string,
      values: readonly unknown[] = [],
      settings = {},
    ) {
      const [rows = [], counts = []] = await own.transaction(
        [
          { sql, values },
          {
            sql: `SELECT pg_stat_get_xact_tuples_returned('task'::regclass)::int AS scanned,
                         pg_stat_get_xact_tuples_fetched('task'::regclass)::int AS fetched`,
            values: [],
          },
        ],
        settings,
      );
      read.push(...counts);
      return rows as Row[];
    },
  };
  // A look that takes longer than a second is given up until the next one.
  const found = await until('a look that ends in time', () =>
    findUnknownStatuses({ ...counting, close: () => own.close() }).catch((error: unknown) => {
      expect(error).toMatchObject({ code: '57014' });
      return undefined;
    }),
  );
  await own.close();
  expect(found).toEqual([
    { vendor: 'REPLICATION', status: 'Weird', tasks: 1, executionId: oldest },
  ]);
  const fetched = Number(read.at(-1)?.['fetched']);
  expect(read.at(-1)?.['scanned']).toBe(0);
  expect(fetched).toBeGreaterThan(5_000);
  expect(fetched).toBeLessThanOrEqual(10_001);
});
