import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { Pool } from 'pg';
import { z } from 'zod';
import { openDatabase } from '../../shared/postgres/database.ts';
import { formatIdentity } from '../../shared/execution.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { Batcher } from '../../workers/batcher.ts';
import { refreshBatch } from '../../workers/refresh-batch.ts';
import { identityPages, vacuum } from '../data.ts';
import { startContender } from '../processes.ts';
import type { Arena } from '../servers.ts';
import { signalGo, type ConnectWorker, type Contender } from './contender.ts';

export const PROCESSES = 2;
const CONCURRENCY = 200;
const payloadSchema = z.object({ executionId: z.number() });

/** graphile-worker with a job key for each execution, and Tally's own batches on the workers' side. */
export const contender: Contender = {
  name: 'graphile-worker',
  family: 'graphile-worker',
  title: 'graphile-worker, the same batched refresh',
  workers: PROCESSES,
  refreshes: true,
  waitsInRedis: false,
  prepare: async (arena) => {
    await migrateGraphileWorker(arena);
    const utils = await makeWorkerUtils({ connectionString: arena.databaseUrl });
    for await (const page of identityPages(arena.database)) {
      await utils.addJobs(
        page.map((identity) => ({
          identifier: 'refresh',
          payload: identity,
          jobKey: formatIdentity(identity),
        })),
      );
    }
    await utils.release();
    // Without statistics on the new rows the first fetches would be planned badly.
    await vacuum(arena.observerUrl, 'graphile_worker._private_jobs');
  },
  start: (arena) =>
    Promise.all(Array.from({ length: PROCESSES }, () => startContender('graphile-worker', arena))),
  go: signalGo,
  left: async (arena) => {
    const [row] = await arena.database.query<{ some: boolean }>(
      'SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS some',
    );
    return Number(row?.some ?? false);
  },
};

/** Creates its schema. */
export async function migrateGraphileWorker(arena: Arena): Promise<void> {
  const utils = await makeWorkerUtils({ connectionString: arena.databaseUrl });
  await utils.migrate();
  await utils.release();
}

export const connect: ConnectWorker = async ({ databaseUrl }) => {
  const database = openDatabase(databaseUrl, silentLogger(), { connections: 6, name: 'refresh' });
  const pgPool = new Pool({ connectionString: databaseUrl, max: 20 });
  await Promise.all([database.query('SELECT 1'), pgPool.query('SELECT 1')]);
  const batcher = new Batcher({
    maxBatchSize: CONCURRENCY,
    lanes: 4,
    onBatch: () => undefined,
    refresh: (ids, wait) => refreshBatch(database, async () => undefined, ids, wait),
  });
  const refresh = async (payload: unknown): Promise<void> => {
    const result = await batcher.refresh(payloadSchema.parse(payload).executionId);
    if (result.kind !== 'refreshed') throw result.error;
  };
  return async () => {
    await run({
      pgPool,
      noHandleSignals: true,
      logger: new Logger(() => () => undefined),
      taskList: { refresh },
      // What worker.graphile.org/docs/performance measures its own numbers with, but for the
      // concurrency: as many jobs as in Tally's workers wait for a batch.
      preset: {
        worker: {
          concurrentJobs: CONCURRENCY,
          maxPoolSize: 20,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    });
  };
};
