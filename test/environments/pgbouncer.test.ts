import { afterEach, expect, inject, it } from 'vitest';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
} from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { markInSet, newHarborRedis } from '../support/markers.ts';
import { startPgbouncer } from '../support/pgbouncer.ts';
import { untilReady } from '../support/health.ts';
import {
  runTally,
  startProducer,
  startTally,
  startWorker,
  untilDoctorIsContent,
} from '../support/processes.ts';
import { createStores, openClient } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const POOL_SIZE = 4;
const pooled = await startPgbouncer(inject('postgresUrl'));
const { url: harborUrl, redis: harbor } = await newHarborRedis();
const { config, environment, database, queue } = await createStores({
  settings: {
    HARBOR_REDIS_URL: harborUrl,
    HARBOR_MARKER_DELAY_MS: '0',
    RECONCILE_INTERVAL_MS: '0',
  },
  postgresUrl: pooled.url,
  capture: true,
});
const { pathname } = new URL(config.DATABASE_URL);
const { url: statementsUrl } = await startPgbouncer(inject('postgresUrl'), () => [
  'unix_socket_dir =',
  'pool_mode = statement',
]);
const statements = Object.assign(new URL(statementsUrl), { pathname }).href;
const directUrl = Object.assign(new URL(inject('postgresUrl')), { pathname }).href;

/** What the pooled sessions of this database have that the pooler would hand on to its next clients. */
async function leftovers(): Promise<unknown> {
  const observer = await openClient(directUrl);
  const locks = await observer.query(
    `SELECT locktype, objid, mode FROM pg_locks
      WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  // Plain clients, which pin nothing; each in a transaction, so that every pooled connection is asked.
  const clients = await Promise.all(
    Array.from({ length: POOL_SIZE }, () => openClient(config.DATABASE_URL)),
  );
  await Promise.all(clients.map((client) => client.query('BEGIN')));
  const sessions = await Promise.all(
    clients.map((client) =>
      client.query<{ pid: number; left: string | null }>(
        `SELECT pg_backend_pid() AS pid, left_over.text AS left
           FROM (VALUES (1)) AS one_row LEFT JOIN (
             SELECT 'setting ' || name || ' = ' || setting FROM pg_settings
              WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone')
             UNION ALL SELECT 'prepared ' || statement FROM pg_prepared_statements
             UNION ALL SELECT 'listening to ' || channel FROM pg_listening_channels() AS channel
             UNION ALL SELECT 'cursor ' || name FROM pg_cursors
             UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
           ) AS left_over (text) ON true`,
      ),
    ),
  );
  await Promise.all(clients.map((client) => client.query('ROLLBACK')));
  const rows = sessions.flatMap((session) => session.rows);
  expect(new Set(rows.map(({ pid }) => pid)).size).toBe(POOL_SIZE);
  return {
    locks: locks.rows,
    session: rows.flatMap(({ left }) => left ?? []),
  };
}

afterEach(() => harbor.flushdb());

it('everything works through PgBouncer in transaction mode, and nothing stays on its connections', async () => {
  injectFault(42, 'a real PgBouncer in transaction mode');
  for (const args of [
    ['migrate'],
    ['migrate'],
    ['capture', 'enable'],
    ['capture', 'disable'],
    ['capture', 'enable'],
    ['capture', 'status'],
  ]) {
    expect(await runTally(args, environment)).toMatchObject({ code: 0 });
  }
  await startProducer(environment);
  await startWorker(environment);
  const dashboard = startTally(['dashboard'], environment);
  await untilReady(dashboard);
  const [captured = 0, marked = 0] = await createExecutions(database, 2);
  await markInSet(harbor, [marked]);
  for (const id of [captured, marked]) {
    await until(
      'the refresh',
      async () => (await readExecution(database, id)).status === 'Success',
    );
  }
  for (const args of [['status'], ['reconcile'], ['reconcile', '--dry-run', '--all'], ['failed']]) {
    expect(await runTally(args, environment)).toMatchObject({ code: 0 });
  }
  const doctor = await untilDoctorIsContent(environment);
  expect(doctor).toMatch(/ok +commits +a commit finishes/);
  expect(doctor).toMatch(/ok +pooler +one is in between/);
  const direct = await runTally(['doctor'], { ...environment, DATABASE_URL: directUrl });
  expect(direct.output).toMatch(/ok +pooler +none is in between/);
  await expectNothingBroken({ database, queue });
  expect(await leftovers()).toEqual({ locks: [], session: [] });
}, 300_000);

it('a PgBouncer that is killed and started again under load costs no attempt', async () => {
  const fault = injectFault(42, 'PgBouncer killed and started again under load, three times');
  await startProducer(environment);
  const worker = await startWorker({ ...environment, JOB_ATTEMPTS: '1' });
  for (let times = 0; times < 3; times++) {
    await until('a pooler that answers', () =>
      createExecutions(database, 200).catch(() => undefined),
    );
    await worker.said('claimed');
    await pooled.restart();
  }
  fault.over();
  await until(
    'all to be done',
    () =>
      outboxRows(database).then(
        (rows) => rows === 0,
        () => false,
      ),
    WORKS_AGAIN_MS,
  );
  fault.recovered();
  await expectNothingBroken({ database, queue });
}, 300_000);

it('through PgBouncer, a frozen holder of the marker intake is replaced and commits no more pages', async () => {
  const fault = injectFault(43, 'SIGSTOP of the producer that takes markers in');
  // Only the marker asks for the refresh.
  expect(await runTally(['capture', 'disable'], environment)).toMatchObject({ code: 0 });
  await startWorker(environment);
  const first = await startProducer(environment);
  await first.said("taking in Harbor's markers");
  const second = await startProducer(environment);
  await second.said("another process takes in Harbor's markers");
  first.kill('SIGSTOP');
  fault.over();
  await second.said("taking in Harbor's markers", 60_000);
  const id = await createExecution(database);
  await markInSet(harbor, [id]);
  await second.said('took in 1 markers');
  await until('the refresh', async () => (await readExecution(database, id)).status === 'Success');
  fault.recovered();
  first.kill('SIGCONT');
  await first.said("another process takes in Harbor's markers", 60_000);
  await expectNothingBroken({ database, queue });
});

it('concurrent migrations through PgBouncer wait for each other and all succeed', async () => {
  const results = await Promise.all([1, 2, 3].map(() => runTally(['migrate'], environment)));
  expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
});

it('tally migrate --uninstall works through PgBouncer', async () => {
  const { code, output } = await runTally(['migrate', '--uninstall', '--force'], environment);
  expect({ code, output }).toMatchObject({
    code: 0,
    output: expect.stringContaining('is removed') as string,
  });
  expect(await leftovers()).toEqual({ locks: [], session: [] });
  expect(await runTally(['status'], environment)).toMatchObject({
    output: expect.stringContaining('schema tally is not installed') as string,
  });
});

it('a PgBouncer in statement mode is named, with the setting', async () => {
  const { code, output } = await runTally(['doctor'], { ...environment, DATABASE_URL: statements });
  expect(output).toMatch(/PROBLEM +connection +transaction blocks not allowed in statement/);
  expect(output).not.toContain('Harbor');
  expect(output).toContain('-> set pool_mode = transaction (or session) in PgBouncer');
  expect(code).toBe(2);
});
