import { expect, it } from 'vitest';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import {
  countByRevision,
  createExecutions,
  refreshesOf,
  untilOutboxIsEmpty,
} from '../../support/executions.ts';
import { startProducer, startWorker } from '../../support/processes.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

// Of the express lane: all wait as jobs of their own before there is a worker.
const { database, queue, environment } = await createStores({ settings: { BACKLOG_JOBS: '0' } });

const COUNT = 5_000;

it('5,000 identities through five workers are each refreshed once, in batches', async () => {
  const ids = await createExecutions(database, COUNT, ['Success', 'Error']);
  await recordRefreshes(database, refreshesOf(ids), 'api');
  await database.query('CREATE EXTENSION pg_stat_statements');
  await startProducer(environment);
  await until('the queue to hold them all', async () => (await queue.getWaitingCount()) === COUNT);
  // Now, as an idle relay goes on looking for rows, ten times a second.
  await expectFewCalls('UPDATE tally.outbox');
  await Promise.all(Array.from({ length: 5 }, () => startWorker(environment)));
  await untilOutboxIsEmpty(database);
  expect(await countByRevision(database, ids)).toEqual({ 1: COUNT });
  expect(await queue.getFailedCount()).toBe(0);
  await expectFewCalls('tally.refresh_executions');
});

async function expectFewCalls(statement: string): Promise<void> {
  const [counted] = await database.query<{ calls: number }>(
    `SELECT sum(calls)::bigint AS calls FROM pg_stat_statements
      WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query LIKE '%' || $1 || '%'`,
    [statement],
  );
  expect(counted?.calls).toBeGreaterThan(0);
  // How few they are on a quiet machine is for the bench to say; on a busy one jobs come slower, and so batches are smaller.
  expect((counted?.calls ?? 0) / COUNT).toBeLessThanOrEqual(0.1);
}
