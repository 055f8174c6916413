import { afterAll, expect, it } from 'vitest';
import {
  createExecution,
  createExecutions,
  readExecution,
  refreshOf,
} from '../support/executions.ts';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { closeGate } from '../support/sabotage.ts';
import { controlledPostgres } from '../support/server-control.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const postgres = await controlledPostgres();
afterAll(() => postgres.remove());
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  postgresUrl: postgres.url,
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

async function backendOf(query: string): Promise<number> {
  return until(`a backend to run ${query}`, async () => {
    const [row] = await database.query<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()`,
      [`%${query}%`],
    );
    return row?.pid;
  });
}

async function backends(): Promise<number[]> {
  const rows = await database.query<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'`,
  );
  return rows.map(({ pid }) => pid);
}

it('a backend that dies during a statement costs the statement, not the process', async () => {
  const before = await backends();
  const sleeping = database.query('SELECT pg_sleep(60)').catch((error: unknown) => error);
  process.kill(await backendOf('pg_sleep(60)'), 'SIGQUIT');
  expect(await sleeping).toBeInstanceOf(Error);
  // Postgres ends all its backends then, and starts anew.
  await until('Postgres to serve again', () =>
    backends().then(
      (pids) => pids.every((pid) => !before.includes(pid)),
      () => false,
    ),
  );
});

it('a worker whose backend dies in mid-batch survives and does the batch again', async () => {
  const fault = injectFault(
    12,
    'SIGQUIT of the backend of a refresh, which restarts all of Postgres',
  );
  const id = await createExecution(database);
  const worker = await startWorker(environment);
  // It opens when Postgres ends all its backends.
  const gate = await closeGate({ database, environment });
  await enqueueRefreshes(queue, [refreshOf(id)]);
  await gate.reached();
  await witness.change([id]);
  fault.over();
  process.kill(await backendOf('tally.refresh_executions'), 'SIGQUIT');
  await until('it to be refreshed', () =>
    readExecution(database, id).then(
      ({ revision }) => revision === 1,
      () => false,
    ),
  );
  fault.recovered();
  await startProducer(environment);
  await witness.verify();
  worker.kill('SIGTERM');
  expect(await worker.ended).toEqual({ code: 0, signal: null });
});

it('connections ended in a transaction or while idle cost time and no job', async () => {
  const [held = 0, other = 0] = await createExecutions(database, 2);
  const worker = await startWorker(environment);
  const gate = await closeGate({ database, environment });
  await enqueueRefreshes(queue, [refreshOf(held)]);
  await gate.reached();
  await witness.change([held]);
  const pid = await backendOf('tally.refresh_executions');
  const fault = injectFault(12, 'pg_terminate_backend of a refresh');
  await database.query('SELECT pg_terminate_backend($1)', [pid]);
  await gate.open();
  await until(
    'it to be refreshed',
    async () => (await readExecution(database, held)).revision === 1,
  );
  fault.recovered();
  const idleEnded = injectFault(16, 'pg_terminate_backend of every idle connection');
  // A refresh is seen a moment before its connection is idle.
  await until('an idle connection to be ended', async () => {
    const ended = await database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'tally worker' AND state = 'idle'`,
    );
    return ended.length > 0;
  });
  idleEnded.over();
  await witness.change([other]);
  await enqueueRefreshes(queue, [refreshOf(other)]);
  await until(
    'the next to be refreshed',
    async () => (await readExecution(database, other)).revision === 1,
  );
  idleEnded.recovered();
  await startProducer(environment);
  await witness.verify();
  expect(worker.lines.join('\n')).not.toContain('failed for good');
  worker.kill('SIGTERM');
  expect(await worker.ended).toEqual({ code: 0, signal: null });
});
