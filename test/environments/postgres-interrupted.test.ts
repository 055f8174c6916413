import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { keepDoing } from '../support/keep-doing.ts';
import { startPgbouncer } from '../support/pgbouncer.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import {
  errorsOf,
  runTally,
  startProducer,
  startTally,
  startWorker,
  untilDoctorIsContent,
} from '../support/processes.ts';
import { controlledPostgres } from '../support/server-control.ts';
import { createStores, openClient } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const server = await controlledPostgres();
afterAll(() => server.remove());
const narrow = await startPgbouncer(server.url, () => [
  'unix_socket_dir =',
  'default_pool_size = 1',
]);
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', JOB_ATTEMPTS: '1' },
  postgresUrl: server.url,
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });
beforeEach(() => database.query('TRUNCATE ledger'));

it.each([20, 300])(
  'backends terminated every %d ms while they refresh cost no attempt',
  { timeout: 300_000 },
  async (everyMs) => {
    const worker = await startWorker(environment);
    await startProducer(environment);
    // A backlog, so that both lanes are interrupted.
    await createExecutions(database, 10_000);
    const ids = await createExecutions(database, 300);
    let ended = 0;
    const fault = injectFault(12, `pg_terminate_backend of every backend, every ${everyMs} ms`);
    const killer = await openClient(environment.DATABASE_URL);
    const stop = keepDoing(everyMs, async () => {
      const { rowCount } = await killer.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name LIKE 'tally %'
            AND application_name <> 'tally test' AND pid <> pg_backend_pid()`,
      );
      ended += rowCount ?? 0;
    });
    const rest = keepDoing(50, () => witness.change(ids));
    await until('many to be ended', () => ended > 60, 60_000);
    await rest();
    await stop();
    fault.over();
    await witness.verify(WORKS_AGAIN_MS);
    fault.recovered();
    expect(await queue.getFailedCount()).toBe(0);
    expect(worker.lines.filter((line) => line.includes('failed for good'))).toEqual([]);
  },
);

it(
  'an immediate shutdown of Postgres and its recovery cost no attempt',
  { timeout: 300_000 },
  async () => {
    const fault = injectFault(
      11,
      'an immediate shutdown of Postgres in mid-batch and its recovery, three times',
    );
    const worker = await startWorker(environment);
    await startProducer(environment);
    const ids = await createExecutions(database, 300);
    for (let times = 0; times < 3; times++) {
      await createExecutions(database, 3_000);
      await witness.change(ids);
      await worker.said('claimed');
      const file = join(server.folder, 'cluster', 'postmaster.pid');
      process.kill(Number(readFileSync(file, 'utf8').split('\n')[0]), 'SIGQUIT');
      await server.stop();
      await server.start();
    }
    fault.over();
    await witness.verify(WORKS_AGAIN_MS);
    fault.recovered();
    expect(await queue.getFailedCount()).toBe(0);
  },
);

it(
  'everything works and is ready behind a PgBouncer with a single connection',
  { timeout: 300_000 },
  async () => {
    const { pathname } = new URL(environment.DATABASE_URL);
    const url = Object.assign(new URL(narrow.url), { pathname }).href;
    const through = { ...environment, DATABASE_URL: url };
    const processes = [
      await startWorker(through),
      await startProducer(through),
      startTally(['dashboard'], through),
    ];
    const watches = await Promise.all(
      processes.map(async (child) => watchProcess(child, await healthAddress(child), 'unsettled')),
    );
    await createExecutions(database, 3_000);
    const ids = await createExecutions(database, 300);
    await witness.change(ids);
    await witness.verify();
    await untilDoctorIsContent(through);
    for (const args of [['status'], ['failed'], ['reconcile', '--dry-run']]) {
      const { output } = await runTally(args, through);
      expect(output).not.toMatch(/can't be asked|can't be used/);
    }
    await until('everybody to be ready', () =>
      watches.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
    );
    expect(await queue.getFailedCount()).toBe(0);
    for (const child of processes) {
      expect(errorsOf(child.lines)).toEqual([]);
    }
  },
);
