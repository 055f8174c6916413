import { beforeEach, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { countByRevision, createExecutions, refreshesOf } from '../support/executions.ts';
import { injectFault } from '../support/fault.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { someoneToWait } from '../support/lock-waits.ts';
import { attemptsUsed } from '../support/health.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { sabotage } from '../support/sabotage.ts';
import { allSettled } from '../support/settled.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';

// The reconciler is off, so that it can't hide a hole.
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

beforeEach(() => database.query('TRUNCATE ledger, tally.outbox'));

async function verify(ids: readonly number[]): Promise<void> {
  expect(await countByRevision(database, ids)).toEqual({ 1: ids.length });
  expect(await queue.getFailedCount()).toBe(0);
  await startProducer(environment);
  await witness.verify();
}

it('a refresh that Postgres ends to break a deadlock with the host is done again, without an attempt', async () => {
  const ids = await createExecutions(database, 20);
  await witness.change(ids);
  const [contested = 0] = ids;
  // The refresh has the rows of its executions and wants the table; the host has the table and wants a row.
  await database.query('CREATE TABLE public.contested ()');
  await sabotage(database, 'LOCK TABLE public.contested', { each: 'STATEMENT' });
  const host = await openClient(environment.DATABASE_URL);
  // Postgres looks for a deadlock once, when somebody has waited for this long, and ends who looks. The refresh has to look
  // first, and only when the host waits, too.
  await host.query(`SET deadlock_timeout = '1min'`);
  await database.query(
    `ALTER DATABASE ${new URL(environment.DATABASE_URL).pathname.slice(1)} SET deadlock_timeout = '4s'`,
  );
  await host.query('BEGIN');
  await host.query('LOCK TABLE public.contested');
  const worker = await startWorker(environment);
  await enqueueRefreshes(queue, refreshesOf(ids));
  await someoneToWait(database);
  const fault = injectFault(15, 'a real deadlock between a refresh and a transaction of the host');
  const [deadlocked] = await Promise.all([
    until('Postgres to break it', async () => {
      const [row] = await database.query<{ deadlocks: number }>(
        'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
      );
      return (row?.deadlocks ?? 0) > 0;
    }),
    host.query('UPDATE execution SET extra_attrs = extra_attrs WHERE id = $1', [contested]),
  ]);
  expect(deadlocked).toBe(true);
  await host.query('COMMIT');
  fault.over();
  await until('all to be done', () => allSettled({ queue, database }));
  fault.recovered();
  expect(await attemptsUsed(worker)).toBe(0);
  await verify(ids);
});

it('a serialization failure is tried again with the whole batch, without an attempt', async () => {
  const ids = await createExecutions(database, 20);
  await witness.change(ids);
  // The statement runs in READ COMMITTED, where Postgres never raises it by itself; an extension may.
  await database.query('CREATE SEQUENCE public.refused');
  await sabotage(
    database,
    `IF nextval('public.refused') <= 2 THEN
       RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
     END IF`,
    { each: 'STATEMENT' },
  );
  const fault = injectFault(15, 'two serialization failures, raised by a trigger');
  const worker = await startWorker(environment);
  await enqueueRefreshes(queue, refreshesOf(ids));
  await until('all to be done', () => allSettled({ queue, database }));
  fault.recovered();
  expect(await attemptsUsed(worker)).toBe(0);
  await verify(ids);
});
