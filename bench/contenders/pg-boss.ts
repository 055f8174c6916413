import { setTimeout as delay } from 'node:timers/promises';
// oxlint-disable-next-line import/default -- a CommonJS module, whose exports are its default
import PgBoss from 'pg-boss';
import { openDatabase } from '../../shared/postgres/database.ts';
import { describeError } from '../../shared/errors.ts';
import { formatIdentity, type Identity } from '../../shared/execution.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { refreshBatch } from '../../workers/refresh-batch.ts';
import { identityPages, vacuum } from '../data.ts';
import { startContender } from '../processes.ts';
import { signalGo, type ConnectWorker, type Contender, type Urls } from './contender.ts';

const QUEUE = 'refresh';
const PROCESSES = 2;
// Two fetch loops a process, so that one fetches or completes while the other refreshes.
const LOOPS = 2;
const BATCH = 500;
const IDLE_MS = 500;

/** pg-boss with a singleton key for each execution, and a batch of jobs refreshed by one statement. */
export const contender: Contender = {
  name: 'pg-boss',
  family: 'pg-boss',
  title: 'pg-boss, the same batched refresh',
  workers: PROCESSES,
  refreshes: true,
  waitsInRedis: false,
  prepare: async (arena) => {
    const boss = await open(arena);
    // The policy that lets one job of a key wait.
    await boss.createQueue(QUEUE, { name: QUEUE, policy: 'short' });
    for await (const page of identityPages(arena.database)) {
      await boss.insert(
        page.map((identity) => ({
          name: QUEUE,
          data: identity,
          singletonKey: formatIdentity(identity),
        })),
      );
    }
    await boss.stop({ graceful: false });
    // Without statistics on the new rows the first fetches would be planned badly.
    await vacuum(arena.observerUrl, 'pgboss.job');
  },
  start: (arena) =>
    Promise.all(Array.from({ length: PROCESSES }, () => startContender('pg-boss', arena))),
  go: signalGo,
  left: async (arena) => {
    const [row] = await arena.database.query<{ some: boolean }>(
      `SELECT EXISTS (SELECT FROM pgboss.job WHERE name = $1 AND state < 'active')
           OR EXISTS (SELECT FROM pgboss.job WHERE name = $1 AND state = 'active') AS some`,
      [QUEUE],
    );
    return Number(row?.some ?? false);
  },
};

export const connect: ConnectWorker = async (urls) => {
  const database = openDatabase(urls.databaseUrl, silentLogger(), {
    connections: LOOPS,
    name: 'refresh',
  });
  const boss = await open(urls);
  await database.query('SELECT 1');
  // work() polls twice a second at most, whatever it has found; fetch and complete are what it is
  // made of. Fetching without priorities is faster, and all jobs have the same.
  const loop = async (): Promise<void> => {
    for (;;) {
      const jobs = await boss.fetch<Identity>(QUEUE, { batchSize: BATCH, priority: false });
      if (jobs.length === 0) {
        await delay(IDLE_MS);
        continue;
      }
      const ids = jobs.map(({ data }) => data.executionId);
      const results = await refreshBatch(database, async () => undefined, ids, true);
      const bad = [...results.values()].find(({ kind }) => kind !== 'refreshed');
      if (bad !== undefined) throw new Error('pg-boss: an execution was not refreshed');
      await boss.complete(
        QUEUE,
        jobs.map(({ id }) => id),
      );
    }
  };
  return async () => {
    await Promise.all(Array.from({ length: LOOPS }, loop));
  };
};

async function open({ databaseUrl }: Pick<Urls, 'databaseUrl'>): Promise<PgBoss> {
  // No maintenance and no schedules while it is measured.
  const options = { connectionString: databaseUrl, max: 10, supervise: false, schedule: false };
  const boss = new PgBoss(options);
  boss.on('error', (error) => process.stderr.write(`pg-boss: ${describeError(error)}\n`));
  return await boss.start();
}
