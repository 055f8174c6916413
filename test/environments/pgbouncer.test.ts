import { afterEach, expect, inject, it } from 'vitest';
import { createExecutions, readExecution } from '../support/executions.ts';
import { markInSet, newHarborRedis } from '../support/markers.ts';
import { startPgbouncer } from '../support/pgbouncer.ts';
import { healthAddress } from '../support/process-watch.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const pooled = await startPgbouncer(inject('postgresUrl'));
const { url: harborUrl, redis: harbor } = await newHarborRedis();
const { config, environment, database } = await createStores(
  { HARBOR_REDIS_URL: harborUrl, HARBOR_MARKER_DELAY_MS: '0' },
  { postgresUrl: pooled, redisUrl: inject('redisUrl') },
  { capture: true },
);
const { pathname } = new URL(config.DATABASE_URL ?? '');
const directUrl = Object.assign(new URL(inject('postgresUrl')), { pathname }).href;

/** What a session of this database has that a pooler would hand on to its next client. */
async function leftovers(): Promise<unknown> {
  const observer = await openClient(directUrl);
  const locks = await observer.query(
    `SELECT locktype, objid, mode FROM pg_locks
      WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  );
  const settings = new Map<string, string>();
  // Plain clients, which pin nothing; all at once, so that every pooled connection is asked.
  const clients = await Promise.all([1, 2, 3, 4].map(() => openClient(config.DATABASE_URL ?? '')));
  for (const { rows } of await Promise.all(
    clients.map((client) =>
      client.query<{ name: string; setting: string }>(
        `SELECT name, setting FROM pg_settings, pg_sleep(0.3)
          WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone')`,
      ),
    ),
  )) {
    for (const { name, setting } of rows) settings.set(name, setting);
  }
  return { locks: locks.rows, settings: Object.fromEntries(settings) };
}

afterEach(() => harbor.flushdb());

it('everything works through PgBouncer in transaction mode, and nothing stays on its connections', async () => {
  for (const args of [
    ['migrate'],
    ['migrate'],
    ['capture', 'enable'],
    ['capture', 'disable'],
    ['capture', 'enable'],
  ]) {
    expect(await runTally(args, environment)).toMatchObject({ code: 0 });
  }
  await startProducer(environment);
  await startWorker(environment);
  const dashboard = startTally(['dashboard'], environment);
  const ready = await fetch(`${await healthAddress(dashboard)}/readyz`);
  expect(ready.status).toBe(200);
  const [captured = 0, marked = 0] = await createExecutions(database, 2);
  await markInSet(harbor, [marked]);
  for (const id of [captured, marked]) {
    await until(
      'the refresh',
      async () => (await readExecution(database, id)).status === 'Success',
    );
  }
  for (const args of [['status'], ['reconcile'], ['failed']]) {
    expect(await runTally(args, environment)).toMatchObject({ code: 0 });
  }
  expect(await leftovers()).toEqual({ locks: [], settings: {} });
});

it('a frozen holder of the marker intake is replaced through PgBouncer, and commits no page afterwards', async () => {
  const first = await startProducer(environment);
  await first.said("taking in Harbor's markers");
  const second = await startProducer(environment);
  await second.said("another process takes in Harbor's markers");
  first.kill('SIGSTOP');
  await second.said("taking in Harbor's markers", 60_000);
  const [id = 0] = await createExecutions(database, 1);
  await markInSet(harbor, [id]);
  await second.said('took in 1 markers');
  first.kill('SIGCONT');
  await first.said("another process takes in Harbor's markers", 60_000);
});

it('migrations at the same time through PgBouncer wait for each other and all succeed', async () => {
  const results = await Promise.all([1, 2, 3].map(() => runTally(['migrate'], environment)));
  expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
});

it('tally migrate --uninstall works through PgBouncer', async () => {
  const { code, output } = await runTally(['migrate', '--uninstall', '--force'], environment);
  expect({ code, output }).toMatchObject({
    code: 0,
    output: expect.stringContaining('is removed') as string,
  });
  expect(await leftovers()).toEqual({ locks: [], settings: {} });
  expect(await runTally(['status'], environment)).toMatchObject({
    output: expect.stringContaining('schema tally is not installed') as string,
  });
});
