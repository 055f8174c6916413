import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { countJobs } from '../../shared/queue/refresh-queue.ts';
import { createExecutions, outboxRows, untilOutboxIsEmpty } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess, type ProcessWatch } from '../support/process-watch.ts';
import { startTally, type TallyProcess } from '../support/processes.ts';
import { lockExecutions } from '../support/sabotage.ts';
import { newPostgres } from '../support/servers.ts';
import { createStores, openClient } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault, type InjectedFault } from '../support/fault.ts';

// Of its own: a missing standby concerns all databases of a server.
const postgres = await newPostgres();
afterAll(() => postgres.stop());
const { database, queue, environment } = await createStores({
  settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: '0', WORKER_PORT: '0' },
  postgresUrl: postgres.url,
  capture: true,
});
const url = environment.DATABASE_URL;
const name = new URL(url).pathname.slice(1);
const witness = await witnessRefreshes({ database, queue });
// What is told to the server while it doesn't finish commits must not wait for one.
const administer = async (sql: string): Promise<void> => {
  const client = await openClient(url);
  await client.query('SET default_transaction_read_only = off; SET synchronous_commit = local');
  await client.query(sql);
};

interface Watched {
  readonly process: TallyProcess;
  readonly url: string;
  readonly watch: ProcessWatch;
}

async function start(role: 'worker' | 'producer'): Promise<Watched> {
  const process = startTally([role], environment);
  const address = await healthAddress(process);
  return { process, url: address, watch: watchProcess(process, address, 'unsettled') };
}

interface Outage {
  readonly inject: (lasts: string) => InjectedFault;
  readonly begin: () => Promise<unknown>;
  readonly end: () => Promise<unknown>;
  readonly lastsMs: number;
  /** Whether a producer can't record rows either. */
  readonly forProducers: boolean;
}

let locker: Awaited<ReturnType<typeof openClient>> | undefined;
const OUTAGES: Record<string, Outage> = {
  'is read-only': {
    inject: (lasts) =>
      injectFault(35, `ALTER DATABASE … SET default_transaction_read_only, ${lasts}`),
    begin: async () => {
      await administer(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
      // Sessions keep the default that they began with.
      await administer(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name LIKE 'tally %' AND application_name <> 'tally test'`,
      );
    },
    end: () => administer(`ALTER DATABASE ${name} RESET default_transaction_read_only`),
    lastsMs: 60_000,
    forProducers: true,
  },
  'waits for a standby in each commit': {
    inject: (lasts) => injectFault(36, `synchronous_standby_names without a standby, ${lasts}`),
    begin: async () => {
      await administer(`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`);
      await administer('SELECT pg_reload_conf()');
    },
    end: async () => {
      await administer(`ALTER SYSTEM RESET synchronous_standby_names`);
      await administer('SELECT pg_reload_conf()');
    },
    lastsMs: 90_000,
    forProducers: true,
  },
  'has the table task locked': {
    inject: (lasts) => injectFault(37, `LOCK TABLE task, ${lasts}`),
    begin: async () => {
      locker = await openClient(url);
      await locker.query('BEGIN; LOCK TABLE task');
    },
    end: async () => locker?.query('ROLLBACK').catch(() => undefined),
    lastsMs: 90_000,
    forProducers: false,
  },
};

it.each(Object.entries(OUTAGES))(
  'while Postgres %s, no attempt is used and no process says ready; work resumes when that ends',
  { timeout: 400_000 },
  async (_what, outage) => {
    const fault = outage.inject(`for ${outage.lastsMs / 1_000} s`);
    const [worker, producer] = await Promise.all([start('worker'), start('producer')]);
    for (const { watch } of [worker, producer]) {
      await until('it to be ready', () => watch.lastAnswer.includes('"ready"'), 90_000);
    }
    const ids = await createExecutions(database, 300);
    await untilOutboxIsEmpty(database, 90_000);
    // What waits when the outage begins: for locks on rows, so that some are in each of the worker's lanes.
    const unlock = await lockExecutions(url, ids.slice(0, 3));
    await witness.change(ids);
    await until('three to be held', async () => (await outboxRows(database)) <= 3);

    const affected = outage.forProducers ? [worker, producer] : [worker];
    for (const { watch } of affected) watch.declare('unsettled');
    onTestFinished(async () => void (await outage.end()));
    await outage.begin();
    await unlock().catch(() => undefined);
    for (const { watch } of affected) watch.declare('unable');
    const refused = outage.forProducers ? await askFor(producer.url, ids[0] ?? 0) : undefined;
    expect(refused === undefined || refused.status === 503).toBe(true);
    // No wait for a condition: that it lasts is the fault.
    await delay(outage.lastsMs);
    const during = await worker.watch.look(4);
    expect(during.cpuShare).toBeLessThan(0.2);
    expect(await countJobs(queue)).toMatchObject({ failed: 0, delayed: 0 });

    for (const { watch } of affected) watch.declare('unsettled');
    fault.over();
    await outage.end();
    await untilOutboxIsEmpty(database, WORKS_AGAIN_MS);
    fault.recovered();
    await until(
      'the API to accept',
      async () => (await askFor(producer.url, ids[0] ?? 0)).status === 202,
      WORKS_AGAIN_MS,
    );
    await witness.verify(60_000);
    // Not at every moment: on a machine that is busy enough a probe may run out of time.
    for (const { watch } of affected) {
      await until('it to be ready again', () => watch.lastAnswer.includes('"ready"'));
    }
    expect(await countJobs(queue)).toMatchObject({ waiting: 0, failed: 0, delayed: 0 });
    for (const { process, watch } of [worker, producer]) {
      expect(watch.lies).toEqual([]);
      expect(process.lines.filter((line) => line.includes('failed for good'))).toEqual([]);
      process.kill('SIGTERM');
      expect(await process.ended).toEqual({ code: 0, signal: null });
    }
    // A backend ends a moment after its client.
    await until('no connection to be left', async () => {
      const left = await database.query(
        `SELECT FROM pg_stat_activity WHERE application_name LIKE 'tally %' AND application_name <> 'tally test'`,
      );
      return left.length === 0;
    });
  },
);

async function askFor(address: string, executionId: number): Promise<{ status: number }> {
  const { status } = await fetch(`${address}/v1/refreshes`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ executionId, vendor: 'REPLICATION' }),
  });
  return { status };
}
