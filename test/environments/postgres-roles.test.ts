import { afterAll, describe, expect, it } from 'vitest';
import { grantAsDocumented } from '../support/documented-grants.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { createExecutions } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { newPostgres } from '../support/servers.ts';
import { createStores, openClient } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';

// Of its own: roles and their settings belong to a server.
const postgres = await newPostgres();
afterAll(() => postgres.stop());
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', JOB_ATTEMPTS: '1', WORKER_PORT: '0' },
  postgresUrl: postgres.url,
  capture: true,
});
const ownerUrl = environment.DATABASE_URL;
const witness = await witnessRefreshes({ database, queue });

// A role that may do what the documents ask for, and isn't the owner of anything.
const ROLE = 'runner';
await database.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD 'word'`);
await grantAsDocumented(database, ROLE);
const asRole = {
  ...environment,
  DATABASE_URL: Object.assign(new URL(ownerUrl), { username: ROLE, password: 'word' }).href,
};

/** Runs statements as the owner, one transaction each. */
async function administer(statements: readonly string[]): Promise<void> {
  const client = await openClient(ownerUrl);
  for (const statement of statements) await client.query(statement);
  await client.end();
}

/** What keeps a role from working: how it is made, how it is ended, and what everybody says of it. */
interface Obstacle {
  readonly begin: readonly string[];
  readonly end: readonly string[];
  readonly cause: RegExp;
  /** Where `tally status` shows right figures all the same. */
  readonly reads?: true;
}

const hidden = (table: string): Obstacle => ({
  begin: [
    `CREATE POLICY few ON ${table} USING (id % 2 = 0)`,
    `ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`,
  ],
  end: [`ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`, `DROP POLICY few ON ${table}`],
  cause: new RegExp(
    `row level security hides rows of public.${table} from role ${ROLE}[^]*BYPASSRLS`,
  ),
});

const OBSTACLES: Readonly<Record<string, Obstacle>> = {
  'row level security on task': hidden('task'),
  'row level security on execution': hidden('execution'),
  'tables in a schema that the role does not search': {
    begin: [
      'CREATE SCHEMA registry',
      `GRANT USAGE ON SCHEMA registry TO ${ROLE}`,
      'ALTER TABLE execution SET SCHEMA registry',
      'ALTER TABLE task SET SCHEMA registry',
    ],
    end: [
      'ALTER TABLE registry.execution SET SCHEMA public',
      'ALTER TABLE registry.task SET SCHEMA public',
      'DROP SCHEMA registry',
    ],
    cause:
      /execution and task lie in schema registry, which role runner doesn't search[^]*search_path%3Dregistry/,
  },
  'a search_path of the role without the tables': {
    begin: [`ALTER ROLE ${ROLE} SET search_path = pg_catalog`],
    end: [`ALTER ROLE ${ROLE} RESET search_path`],
    cause: /execution and task lie in schema public, which role runner doesn't search/,
  },
  'a role that is read-only by default': {
    begin: [`ALTER ROLE ${ROLE} SET default_transaction_read_only = on`],
    end: [`ALTER ROLE ${ROLE} RESET default_transaction_read_only`],
    cause: /read-only/,
    reads: true,
  },
};

describe.each(Object.entries(OBSTACLES))('with %s', (_name, { begin, end, cause, reads }) => {
  it(
    'every process says so, none is ready, and all work within ten seconds of its end',
    { timeout: 300_000 },
    async () => {
      const ids = await createExecutions(database, 20);
      await administer(begin);
      const worker = startTally(['worker'], asRole);
      const producer = startTally(['producer'], asRole);
      const watches = await Promise.all(
        [worker, producer].map(async (child) => watchProcess(child, await healthAddress(child))),
      );
      try {
        await Promise.all([worker, producer].map((child) => child.said(cause)));
        const status = await runTally(['status'], asRole);
        if (reads) expect(status).toMatchObject({ code: 0 });
        else expect(status).toMatchObject({ code: 1, output: expect.stringMatching(cause) });
        const dryRun = await runTally(['reconcile', '--dry-run'], asRole);
        if (reads) expect(dryRun).toMatchObject({ code: 0 });
        else {
          expect(dryRun).toMatchObject({ code: 1 });
          expect(dryRun.output).toMatch(/row-level security.*BYPASSRLS|lie in schema/);
        }
        const doctor = await runTally(['doctor'], asRole);
        expect(doctor).toMatchObject({ code: 2, output: expect.stringMatching(cause) });
        for (const seen of await Promise.all(watches.map((watch) => watch.look(8)))) {
          expect(seen).toMatchObject({ ready: 0, unanswered: 0 });
          expect(seen.cpuShare).toBeLessThan(0.2);
        }
      } finally {
        for (const watch of watches) watch.declare('unsettled');
        await administer(end);
      }
      await witness.change(ids);
      await witness.verify(WORKS_AGAIN_MS);
      await until(
        'both to be ready',
        () => watches.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
        WORKS_AGAIN_MS,
      );
      expect(watches.flatMap(({ lies }) => lies)).toEqual([]);
      expect(await queue.getFailedCount()).toBe(0);
    },
  );
});

// Whatever an administrator may have set for a role, in a way that would change results, answers or their form.
const SETTINGS: Readonly<Record<string, string>> = {
  statement_timeout: "'300ms'",
  lock_timeout: "'10ms'",
  idle_session_timeout: "'500ms'",
  idle_in_transaction_session_timeout: "'100ms'",
  transaction_timeout: "'2s'",
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  search_path: 'nowhere, public',
  DateStyle: "'German, DMY'",
  IntervalStyle: 'sql_standard',
  TimeZone: "'Asia/Kathmandu'",
  bytea_output: 'escape',
  extra_float_digits: '-15',
  quote_all_identifiers: 'on',
  array_nulls: 'off',
  transform_null_equals: 'on',
  exit_on_error: 'on',
  row_security: 'off',
  client_min_messages: 'debug1',
  work_mem: "'64kB'",
  enable_indexscan: 'off',
  enable_hashagg: 'off',
  plan_cache_mode: 'force_generic_plan',
  jit_above_cost: '0',
  synchronous_commit: 'off',
  standard_conforming_strings: 'off',
};

it(
  'a role with unusual settings works like any other, and doctor finds no problem',
  { timeout: 300_000 },
  async () => {
    await administer(
      Object.entries(SETTINGS).map(([name, value]) => `ALTER ROLE ${ROLE} SET ${name} = ${value}`),
    );
    try {
      const worker = await startWorker(asRole);
      await startProducer(asRole);
      const watch = watchProcess(worker, await healthAddress(worker), 'unsettled');
      const ids = await createExecutions(database, 300);
      await witness.change(ids);
      await witness.verify();
      const status = await runTally(['status'], asRole);
      expect(status).toMatchObject({ code: 0 });
      expect(status.output).toMatch(/^disagreements +0$/m);
      expect((await runTally(['doctor'], asRole)).output).not.toContain('PROBLEM');
      expect(await runTally(['reconcile', '--dry-run'], asRole)).toMatchObject({ code: 0 });
      expect(await runTally(['failed'], asRole)).toMatchObject({ code: 0 });
      await until('it to be ready', () => watch.lastAnswer.includes('"status":"ready"'));
      expect(await queue.getFailedCount()).toBe(0);
      expect(worker.lines.filter((line) => /"level":"(warn|error)"/.test(line))).toEqual([]);
    } finally {
      await administer([`ALTER ROLE ${ROLE} RESET ALL`]);
    }
  },
);
