import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import type { Identity } from '../../shared/execution.ts';
import { identityPages } from '../data.ts';
import { startContender } from '../processes.ts';
import type { Arena } from '../servers.ts';
import { signalGo, type ConnectWorker, type Contender } from './contender.ts';
import { refreshWithFourStatements } from './four-statements.ts';

const NAME = 'plain';
const PROCESSES = 2;
const CONCURRENCY = 200;
// More would only wait for the processor; both processes stay below the server's 100 connections.
const CONNECTIONS = 20;

/** BullMQ as one would write it first: a job for each execution, its id the execution's, four statements. */
export const contender: Contender = {
  name: 'bullmq',
  family: 'bullmq',
  title: 'BullMQ, four statements a job',
  workers: PROCESSES,
  refreshes: true,
  waitsInRedis: true,
  prepare: async (arena) => {
    const redis = new Redis(arena.redisUrl, { maxRetriesPerRequest: null });
    const queue = openQueue(redis);
    for await (const page of identityPages(arena.database)) {
      await queue.addBulk(
        page.map(({ executionId, vendor }) => ({
          name: 'refresh',
          data: { executionId, vendor },
          opts: { jobId: `${vendor}-${executionId}`, removeOnComplete: true, attempts: 3 },
        })),
      );
    }
    await queue.close();
    redis.disconnect();
  },
  start: (arena) =>
    Promise.all(Array.from({ length: PROCESSES }, () => startContender('bullmq', arena))),
  go: signalGo,
  left,
};

async function left(arena: Arena): Promise<number> {
  const counts = await openQueue(arena.redis).getJobCounts('waiting', 'active', 'delayed');
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function openQueue(redis: Redis): Queue<Identity> {
  return new Queue(NAME, { connection: redis });
}

export const connect: ConnectWorker = async ({ databaseUrl, redisUrl }) => {
  const pool = new Pool({ connectionString: databaseUrl, max: CONNECTIONS });
  await pool.query('SELECT 1');
  const worker = new Worker<Identity>(
    NAME,
    (job) => refreshWithFourStatements(pool, job.data.executionId),
    {
      connection: new Redis(redisUrl, { maxRetriesPerRequest: null }),
      autorun: false,
      concurrency: CONCURRENCY,
    },
  );
  await worker.waitUntilReady();
  return () => worker.run();
};
