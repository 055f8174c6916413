import { rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { startTally } from '../support/processes.ts';
import { healthAddress } from '../support/health.ts';
import { lastingPort } from '../support/lasting-port.ts';
import { watchProcess, type ProcessWatch } from '../support/process-watch.ts';
import { slowData, startRawRedis, type RawRedis } from '../support/raw-redis.ts';
import { newFolder } from '../support/new-folder.ts';
import { createStores } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const LATE_NAME = 'redis-of-tally.invalid';

/** A Redis that doesn't serve when the processes start. */
interface Trouble {
  /** Environment of the processes. */
  readonly environment: Readonly<Record<string, string>>;
  /** What the log names. */
  readonly cause: RegExp;
  putRight(): Promise<unknown>;
}

const port = await lastingPort();
const url = `redis://:secret-word@127.0.0.1:${port}`;
// The test's own connections wait for the same Redis as the processes.
const { database, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  redisUrl: url,
});

async function running(settings: readonly string[] = [], folder?: string): Promise<RawRedis> {
  const server = await startRawRedis(port, settings, folder);
  onTestFinished(() => server.stop());
  return server;
}

async function withPassword(password: string): Promise<RawRedis> {
  const server = await running();
  await server.admin.config('SET', 'requirepass', password);
  return server;
}

const troubles: Readonly<Record<string, () => Promise<Trouble>>> = {
  'is not there': async () => ({
    environment: {},
    cause: /ECONNREFUSED.*check REDIS_URL/,
    putRight: () => withPassword('secret-word'),
  }),
  'has a name that nobody knows': async () => {
    await withPassword('secret-word');
    const file = `${newFolder()}/known`;
    onTestFinished(() => rmSync(file, { force: true }));
    return {
      environment: {
        REDIS_URL: url.replace('127.0.0.1', LATE_NAME),
        LATE_NAME,
        LATE_NAME_FILE: file,
        NODE_OPTIONS: `--import=${fileURLToPath(new URL('../support/late-name.mjs', import.meta.url))}`,
      },
      cause: /ENOTFOUND.*check the host in REDIS_URL/,
      putRight: async () => writeFileSync(file, ''),
    };
  },
  'has another password': async () => {
    const { admin } = await withPassword('another-word');
    return {
      environment: {},
      cause: /WRONGPASS.*check user and password in REDIS_URL/,
      putRight: () => admin.config('SET', 'requirepass', 'secret-word'),
    };
  },
  'is loading its data': async () => {
    const { folder, settings } = await slowData(port);
    const { admin } = await running([...settings], folder);
    return {
      environment: { REDIS_URL: `redis://127.0.0.1:${port}` },
      cause: /loading/,
      putRight: () => admin.config('SET', 'key-load-delay', '0'),
    };
  },
  'has too many clients': async () => {
    const { admin } = await withPassword('secret-word');
    await admin.config('SET', 'maxclients', '1');
    return {
      environment: {},
      cause: /maxclients/,
      putRight: () => admin.config('SET', 'maxclients', '1000'),
    };
  },
};

async function start(role: string, settings: Trouble['environment']) {
  const child = startTally([role], { ...environment, ...settings });
  // The producer is ready without Redis: it accepts refreshes.
  const begins = role === 'producer' ? 'unsettled' : 'unable';
  return { role, child, watch: watchProcess(child, await healthAddress(child), begins) };
}

/** Nobody is busy, nobody hangs, nobody says what isn't true. */
async function expectCalm(watches: readonly ProcessWatch[], samples: number): Promise<void> {
  for (const seen of await Promise.all(watches.map((watch) => watch.look(samples)))) {
    expect(seen.cpuShare).toBeLessThan(0.2);
    expect(seen.unanswered).toBe(0);
  }
  expect(watches.flatMap((watch) => watch.lies)).toEqual([]);
}

it.each(Object.entries(troubles))(
  'processes started while Redis %s wait without load, not ready, and work once it is fixed',
  async (name, make) => {
    const fault = injectFault(32, `processes started while Redis ${name}`);
    const trouble = await make();
    const processes = await Promise.all(
      ['worker', 'producer', 'dashboard'].map((role) => start(role, trouble.environment)),
    );
    const stopped = await start('worker', trouble.environment);
    const watches = processes.map(({ watch }) => watch);
    for (const { role, child, watch } of processes) {
      if (role === 'producer') watch.declare('able');
      await child.said(trouble.cause);
    }
    // The first moments are those of loading the program.
    await Promise.all(watches.map((watch) => watch.look(4)));
    await expectCalm(watches, 16);
    stopped.child.kill('SIGTERM');
    expect(await stopped.child.ended).toEqual({ code: 0, signal: null });

    const id = await createExecution(database);
    await recordRefreshes(database, [refreshOf(id)], 'api');
    for (const { role, watch } of processes) if (role !== 'producer') watch.declare('unsettled');
    fault.over();
    await trouble.putRight();
    await until(
      () => `it to be refreshed; ${processes[0]?.child.lines.slice(-3).join('\n')}`,
      async () => (await readExecution(database, id)).revision === 1,
      WORKS_AGAIN_MS,
    );
    fault.recovered();
    await until(
      'everybody to be ready',
      () => watches.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
      WORKS_AGAIN_MS,
    );
    for (const watch of watches) watch.declare('able');
    await expectCalm(watches, 4);
    await expectNothingBroken({ database });
    for (const { child } of processes) child.kill('SIGTERM');
    for (const { child } of processes) {
      expect(await child.ended).toEqual({ code: 0, signal: null });
      expect(child.lines.join('\n')).not.toMatch(/secret-word|\[ioredis\]/);
    }
  },
);
