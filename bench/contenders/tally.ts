import { setTimeout as delay } from 'node:timers/promises';
import { startCollector } from '../collector.ts';
import type { Redis } from 'ioredis';
import { Client } from 'pg';
import { loadConfig, type ConfigWith } from '../../shared/process/config.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import {
  countJobs,
  enqueueRefreshes,
  openRefreshQueue,
  type RefreshQueue,
} from '../../shared/queue/refresh-queue.ts';
import { identityPages } from '../data.ts';
import { QUEUE_PREFIX, startTally, type MeasuredProcess } from '../processes.ts';
import type { Arena } from '../servers.ts';
import type { Contender } from './contender.ts';

type Settings = Readonly<Record<string, string>>;

// Well beyond BACKLOG_AFTER_MS: the relay takes rows for fresh that came since it last looked.
const BACKLOG_AGE_MS = 2 * loadConfig([], {}).BACKLOG_AFTER_MS;
const EXPRESS_ONLY: Settings = { BACKLOG_JOBS: '0' };

/**
 * Tally as it runs: one `tally producer` and some `tally worker`, from outbox rows to refreshed. The rows
 * are written while the processes run, in a transaction whose COMMIT starts the clock. By then they are a backlog, as
 * the jobs of the other contenders are, which are written before the clock starts.
 */
export function tally(workers: number): Contender {
  return fromOutbox(
    workers,
    { name: `tally-${workers}`, family: 'tally', title: 'Tally, from outbox rows' },
    { rowsAgeMs: BACKLOG_AGE_MS },
  );
}

/** The same with rows that are as young as they can be: all of them come at once. */
export function tallyBurst(workers: number): Contender {
  return fromOutbox(workers, {
    name: `tally-burst-${workers}`,
    family: 'tally-burst',
    title: 'Tally, from outbox rows, all of them fresh',
  });
}

/** The same with the backlog lane off: every outbox row becomes a job. */
export function tallyExpress(workers: number): Contender {
  return fromOutbox(
    workers,
    {
      name: `tally-express-${workers}`,
      family: 'tally-express',
      title: 'Tally, from outbox rows, express lane alone',
    },
    { settings: async () => EXPRESS_ONLY, rowsAgeMs: BACKLOG_AGE_MS },
  );
}

/** The same, traced: to a collector in the bench's own process, which keeps nothing. */
export function tallyTraced(workers: number): Contender {
  return traced(workers, 'traced', 'every refresh traced', {});
}

/** The same with a trace of one refresh in a hundred. */
export function tallySampled(workers: number): Contender {
  return traced(workers, 'sampled', 'one refresh in a hundred traced', {
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.01',
  });
}

function traced(workers: number, kind: string, what: string, sampler: Settings): Contender {
  return fromOutbox(
    workers,
    {
      name: `tally-${kind}-${workers}`,
      family: `tally-${kind}`,
      title: `Tally, from outbox rows, express lane alone, ${what}`,
    },
    {
      settings: async () => ({ ...EXPRESS_ONLY, ...sampler, ...(await startCollector()) }),
      rowsAgeMs: BACKLOG_AGE_MS,
    },
  );
}

function fromOutbox(
  workers: number,
  names: Pick<Contender, 'name' | 'family' | 'title'>,
  {
    settings = async () => ({}),
    rowsAgeMs = 0,
  }: { readonly settings?: () => Promise<Settings>; readonly rowsAgeMs?: number } = {},
): Contender {
  let outbox: Client | undefined;
  return {
    ...names,
    workers,
    refreshes: true,
    waitsInRedis: false,
    prepare: async () => undefined,
    start: async (arena) => {
      const chosen = await settings();
      const processes = await Promise.all([
        startTally('producer', arena, chosen),
        ...startWorkers(arena, workers, chosen),
      ]);
      outbox = await openOutboxTransaction(arena, rowsAgeMs);
      return processes;
    },
    go: async () => {
      await outbox?.query('COMMIT');
      await outbox?.end();
    },
    left: async (arena) => {
      const [row] = await arena.database.query<{ some: boolean }>(
        'SELECT EXISTS (SELECT FROM tally.outbox) AS some',
      );
      return Number(row?.some ?? false) + (await jobsLeft(arena));
    },
  };
}

/** Only the workers' side: the queue is filled first, and paused until the workers are there. */
export function tallyFromQueue(workers: number): Contender {
  return {
    name: `tally-queue-${workers}`,
    family: 'tally-queue',
    title: 'Tally, workers only, queue filled first',
    workers,
    refreshes: true,
    waitsInRedis: true,
    prepare: (arena) =>
      withQueue(arena, async (queue) => {
        await fillQueue(arena, queue);
        await queue.pause();
      }),
    start: (arena) => Promise.all(startWorkers(arena, workers)),
    go: (arena) => withQueue(arena, (queue) => queue.resume()),
    left: jobsLeft,
  };
}

function startWorkers(
  arena: Arena,
  count: number,
  settings: Settings = {},
): Promise<MeasuredProcess>[] {
  return Array.from({ length: count }, () => startTally('worker', arena, settings));
}

/**
 * Records every execution in a transaction that is left open.
 * @param ageMs of the youngest row in the end
 * @returns the connection that holds it
 */
async function openOutboxTransaction(arena: Arena, ageMs: number): Promise<Client> {
  const client = new Client({ connectionString: arena.observerUrl });
  await client.connect();
  await client.query('BEGIN');
  await client.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source)
     SELECT id, vendor_type, 'api' FROM execution ORDER BY id`,
  );
  await delay(ageMs);
  return client;
}

/** Puts a job for each execution on Tally's queue. */
export async function fillQueue(arena: Arena, queue: RefreshQueue): Promise<void> {
  for await (const page of identityPages(arena.database)) await enqueueRefreshes(queue, page);
}

/** Jobs on Tally's queue that aren't done. */
export async function jobsLeft(arena: Arena): Promise<number> {
  const counts = await countJobs(queueOf(arena, arena.redis));
  return counts.waiting + counts.active + counts.delayed;
}

/** Opens Tally's queue on a connection that is closed afterwards, so that it takes no room in Redis. */
export async function withQueue<T>(
  arena: Arena,
  use: (queue: RefreshQueue) => Promise<T>,
): Promise<T> {
  const redis = connectRedis(configOf(arena.redisUrl), 'patient', silentLogger());
  const queue = queueOf(arena, redis);
  try {
    return await use(queue);
  } finally {
    await queue.close();
    redis.disconnect();
  }
}

function queueOf(arena: Arena, redis: Redis): RefreshQueue {
  return openRefreshQueue(configOf(arena.redisUrl), redis);
}

/** Tally's settings in a run: the defaults. */
export function configOf(redisUrl: string): ConfigWith<'REDIS_URL'> {
  return loadConfig(['REDIS_URL'], { REDIS_URL: redisUrl, QUEUE_PREFIX });
}
