import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { openDatabase, type Database } from '../../shared/postgres/database.ts';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { grantAsDocumented } from '../support/documented-grants.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startTally } from '../support/processes.ts';
import { controlledPostgres } from '../support/server-control.ts';
import { newFolder } from '../support/new-folder.ts';
import { createStores, openClient, silent } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const LATE_NAME = 'postgres-of-tally.invalid';
const ROLE = 'start_order';

const server = await controlledPostgres();
afterAll(() => server.remove());
const { database, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', WORKER_PORT: '0' },
  postgresUrl: server.url,
});
const url = environment.DATABASE_URL;

/** A Postgres that can't be worked with when the processes start. */
interface Trouble {
  /** Environment of the processes. */
  readonly environment: Readonly<Record<string, string>>;
  /** What is wrong, one after the other: what the log names, with what to do, and how that is done. */
  readonly steps: readonly (readonly [cause: RegExp, putRight: () => Promise<unknown>])[];
  /** Another one than that of the file. */
  readonly database?: Database;
}

async function grant(): Promise<void> {
  await database.query(`GRANT USAGE ON SCHEMA public TO ${ROLE}`);
  await grantAsDocumented(database, ROLE);
}

const administer = async (sql: string): Promise<void> => {
  const client = await openClient(server.url);
  await client.query(sql);
};

const troubles: Readonly<Record<string, () => Promise<Trouble>>> = {
  'is not there': async () => {
    await server.stop();
    return {
      environment: {},
      steps: [[/ECONNREFUSED.*check host and port in DATABASE_URL/, () => server.start()]],
    };
  },
  'has an unknown name': async () => {
    const file = `${newFolder()}/known`;
    onTestFinished(() => rmSync(file, { force: true }));
    return {
      environment: {
        DATABASE_URL: url.replace('127.0.0.1', LATE_NAME),
        LATE_NAME,
        LATE_NAME_FILE: file,
        NODE_OPTIONS: `--import=${fileURLToPath(new URL('../support/late-name.mjs', import.meta.url))}`,
      },
      steps: [[/ENOTFOUND.*check the host in DATABASE_URL/, async () => writeFileSync(file, '')]],
    };
  },
  'refuses the role': async () => {
    await administer(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'another-word' CONNECTION LIMIT 0`);
    return {
      environment: {
        DATABASE_URL: Object.assign(new URL(url), { username: ROLE, password: 'secret-word' }).href,
      },
      steps: [
        [
          /password authentication failed.*check user and password in DATABASE_URL/,
          () => administer(`ALTER ROLE ${ROLE} PASSWORD 'secret-word'`),
        ],
        [
          /too many connections.*raise max_connections/,
          () => administer(`ALTER ROLE ${ROLE} CONNECTION LIMIT -1`),
        ],
        [/permission denied for schema tally; tally doctor names every right/, grant],
      ],
    };
  },
  'lacks database and schema': async () => {
    const environment = { DATABASE_URL: url.replace(/[^/]+$/, 'comes_later') };
    const later = openDatabase(environment.DATABASE_URL, silent, { connections: 2, name: 'test' });
    onTestFinished(() => later.close());
    return {
      environment,
      steps: [
        [
          /comes_later.* does not exist.*check the name of the database/,
          () => administer('CREATE DATABASE comes_later'),
        ],
        [
          /schema tally is not installed; run: tally migrate/,
          async () => expect(await runTally(['migrate'], environment)).toMatchObject({ code: 0 }),
        ],
      ],
      database: later,
    };
  },
  'is still starting': async () => {
    const folder = newFolder();
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const mayStart = join(folder, 'go');
    // As at the end of a restore: it asks an archive for more, which takes its time.
    await administer(
      `ALTER SYSTEM SET restore_command = 'until [ -e ${mayStart} ]; do sleep 0.1; done; false'`,
    );
    await server.stop();
    writeFileSync(join(server.folder, 'cluster', 'recovery.signal'), '', { mode: 0o644 });
    const started = server.start();
    return {
      environment: {},
      steps: [
        [
          /the database system is .*; the server is starting or stopping; Tally keeps trying/,
          async () => {
            writeFileSync(mayStart, '');
            await started;
            // Between the end of the recovery and the first write it answers as a standby does.
            await until('the recovery to be over', async () => {
              const client = await openClient(server.url);
              const { rows } = await client.query<{ over: boolean }>(
                'SELECT NOT pg_is_in_recovery() AS over',
              );
              return rows[0]?.over;
            });
          },
        ],
      ],
    };
  },
};

it.each(Object.entries(troubles))(
  'processes started while Postgres %s wait without load, not ready, and work once it is fixed',
  { timeout: 300_000 },
  async (name, make) => {
    const fault = injectFault(32, `processes started while Postgres ${name}`);
    const trouble = await make();
    const processes = await Promise.all(
      ['worker', 'producer', 'dashboard'].map(async (role) => {
        const child = startTally([role], { ...environment, ...trouble.environment });
        const begins = role === 'dashboard' ? 'unsettled' : 'unable';
        return { role, child, watch: watchProcess(child, await healthAddress(child), begins) };
      }),
    );
    const workers = processes.filter(({ role }) => role !== 'dashboard');
    const watches = processes.map(({ watch }) => watch);
    // The board works without Postgres.
    for (const { role, watch } of processes) if (role === 'dashboard') watch.declare('able');
    // The first moments are those of loading the program.
    await Promise.all(watches.map((watch) => watch.look(4)));
    for (const [index, [cause, putRight]] of trouble.steps.entries()) {
      await Promise.all(workers.map(({ child }) => child.said(cause)));
      for (const seen of await Promise.all(watches.map((watch) => watch.look(8)))) {
        expect(seen).toMatchObject({ unanswered: 0 });
        expect(seen.cpuShare).toBeLessThan(0.2);
      }
      for (const { child, watch } of workers) {
        expect(child.lines.filter((line) => cause.test(line))).toHaveLength(1);
        if (index === trouble.steps.length - 1) watch.declare('unsettled');
      }
      await putRight();
    }
    fault.over();
    const where = trouble.database ?? database;
    const id = await createExecution(where);
    await recordRefreshes(where, [refreshOf(id)], 'api');
    await until(
      () => `it to be refreshed; ${processes[0]?.child.lines.slice(-3).join('\n')}`,
      async () => (await readExecution(where, id)).status === 'Success',
      WORKS_AGAIN_MS,
    );
    fault.recovered();
    await until(
      'everybody to be ready',
      () => watches.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
      WORKS_AGAIN_MS,
    );
    for (const { watch } of workers) watch.declare('able');
    await Promise.all(watches.map((watch) => watch.look(4)));
    expect(watches.flatMap(({ lies }) => lies)).toEqual([]);
    await expectNothingBroken({ database: where });
    for (const { child } of processes) child.kill('SIGTERM');
    for (const { child } of processes) {
      expect(await child.ended).toEqual({ code: 0, signal: null });
      expect(child.lines.join('\n')).not.toMatch(/secret-word/);
    }
  },
);
