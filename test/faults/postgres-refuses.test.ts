import type { Client } from 'pg';
import { beforeEach, expect, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import {
  countByRevision,
  createExecution,
  createExecutions,
  refreshOf,
  refreshesOf,
} from '../support/executions.ts';
import { attemptsUsed, readyStatus } from '../support/health.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { errorsOf, startProducer, startWorker } from '../support/processes.ts';
import { lockExecutions } from '../support/sabotage.ts';
import { settled } from '../support/settled.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const url = environment.DATABASE_URL;
// One for the batch and one for the failed-janitor.
const LIMIT = 2;
const witness = await witnessRefreshes({ database, queue });

beforeEach(() => database.query('TRUNCATE ledger, tally.outbox'));

/** Executions that have changed, and jobs for them that only a worker is needed for. */
async function enqueueNew(count: number): Promise<number[]> {
  const ids = await createExecutions(database, count);
  await witness.change(ids);
  await enqueueRefreshes(queue, refreshesOf(ids));
  return ids;
}

async function allDone(): Promise<void> {
  await until('all to be done', () => settled(queue));
}

async function verify(): Promise<void> {
  expect(await queue.getFailedCount()).toBe(0);
  await startProducer(environment);
  await witness.verify();
}

it('a lock timeout costs only the locked execution an attempt, and it is refreshed afterwards', async () => {
  const fault = injectFault(15, 'a row locked beyond the lock timeout');
  // The 10 s of the function, shortened so that nobody has to wait for them.
  const [source] = await database.query<{ text: string }>(
    `SELECT pg_get_functiondef('tally.refresh_executions'::regproc) AS text`,
  );
  const shortened = source?.text.replace("'10s'", "'300ms'") ?? '';
  expect(shortened).not.toBe(source?.text);
  await database.query(shortened);
  const worker = await startWorker(environment);
  const held = await createExecution(database);
  await witness.change([held]);
  const unlock = await lockExecutions(url, [held]);
  await enqueueRefreshes(queue, [refreshOf(held)]);
  const others = await enqueueNew(20);
  await until('it to wait for its next try', async () => (await countJobs(queue)).delayed === 1);
  await until(
    'the others to be refreshed',
    async () => (await countByRevision(database, others))[1] === others.length,
  );
  expect(await countByRevision(database, others)).toEqual({ 1: 20 });
  fault.over();
  await unlock();
  await allDone();
  fault.recovered();
  expect(await countByRevision(database, [held])).toEqual({ 1: 1 });
  expect(await attemptsUsed(worker)).toBeGreaterThan(0);
  await verify();
});

it('a worker without a free connection waits, not ready, and no attempt is used', async () => {
  const fault = injectFault(15, 'every connection of the role taken');
  const name = new URL(url).pathname.slice(1);
  // With the rights that docs/operations.md asks for, and what the witness needs.
  for (const statement of [
    `CREATE ROLE ${name} LOGIN PASSWORD 'secret' CONNECTION LIMIT ${LIMIT}`,
    `GRANT USAGE ON SCHEMA tally TO ${name}`,
    `GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tally TO ${name}`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tally TO ${name}`,
    `GRANT SELECT ON execution, task TO ${name}`,
    `GRANT UPDATE (status, end_time, revision, update_time) ON execution TO ${name}`,
  ]) {
    await database.query(statement);
  }
  const limited = Object.assign(new URL(url), { username: name, password: 'secret' }).href;
  const worker = await startWorker({ ...environment, DATABASE_URL: limited });
  // Takes all connections, as soon as the worker's own are gone; the worker may be faster, so again and again.
  const takers: Client[] = [];
  await until('all connections to be taken', async () => {
    await endBackends(`usename = '${name}' AND application_name LIKE 'tally %'`);
    const taker = await openClient(limited).catch(() => undefined);
    if (taker !== undefined) takers.push(taker);
    return takers.length === LIMIT;
  });
  const ids = await enqueueNew(20);
  await worker.said(/Postgres is unavailable: .*too many connections/);
  expect(await readyStatus(worker)).toBe(503);
  expect(await countByRevision(database, ids)).toEqual({ 0: 20 });
  fault.over();
  await Promise.all(takers.map((taker) => taker.end()));
  await allDone();
  fault.recovered();
  expect(await countByRevision(database, ids)).toEqual({ 1: 20 });
  expect(await attemptsUsed(worker)).toBe(0);
  await verify();
  worker.kill('SIGKILL');
  await worker.ended;
  await endBackends(`usename = '${name}'`);
  await database.query(`DROP OWNED BY ${name}`);
  await database.query(`DROP ROLE ${name}`);
});

it('killed idle connections cost neither the process nor an attempt', async () => {
  const fault = injectFault(16, 'pg_terminate_backend of the idle connections, three times');
  const worker = await startWorker(environment);
  await enqueueNew(20);
  await allDone();
  for (let times = 0; times < 3; times++) {
    // One that is at work, for the failed-janitor, would be another fault.
    await until(
      'an idle connection to be ended',
      async () => (await endBackends(`application_name = 'tally worker' AND state = 'idle'`)) > 0,
    );
    fault.over();
    const ids = await enqueueNew(20);
    await allDone();
    expect(await countByRevision(database, ids)).toEqual({ 1: 20 });
  }
  fault.recovered();
  expect(await attemptsUsed(worker)).toBe(0);
  expect(errorsOf(worker.lines).join('\n')).not.toContain('Postgres is unavailable');
  await verify();
});

/** Ends backends of this database and waits until they are gone. @returns how many there were */
async function endBackends(condition: string): Promise<number> {
  const ended = await database.query(
    `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
      WHERE datname = current_database() AND ${condition}`,
  );
  return ended.length;
}
