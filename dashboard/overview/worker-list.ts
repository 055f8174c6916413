import type { Redis } from 'ioredis';
import { readHeartbeats } from '../../shared/queue/activity.ts';
import { connectedWorkers } from '../../shared/queue/connected-workers.ts';
import type { Config } from '../../shared/process/config.ts';
import type { RefreshQueue } from '../../shared/queue/refresh-queue.ts';

// So many running jobs are looked at; ten workers of the default size have no more.
const ACTIVE_SHOWN = 2_000;

/** A worker that is connected to the queue. */
export interface WorkerOnline {
  readonly name: string;
  /** Since when it runs, ISO, UTC; without a heartbeat, since when it is connected. */
  readonly since: string;
  /** Jobs that it takes at most; null when it hasn't told. */
  readonly concurrency: number | null;
  /** Jobs it has in hand. */
  readonly active: number;
  /** The one that it has in hand for longest. */
  readonly longest: { readonly jobId: string; readonly since: string } | null;
}

/**
 * Who is connected and what each is doing now.
 * @throws the error of ioredis
 */
export async function listWorkers(
  queue: RefreshQueue,
  redis: Redis,
  config: Config,
): Promise<WorkerOnline[]> {
  const [connected, activeIds] = await Promise.all([
    connectedWorkers(queue, redis),
    redis.lrange(queue.toKey('active'), 0, ACTIVE_SHOWN - 1),
  ]);
  const [heartbeats, jobs] = await Promise.all([
    readHeartbeats(
      redis,
      config,
      connected.map(({ name }) => name),
    ),
    readActive(queue, redis, activeIds),
  ]);
  const nowMs = Date.now();
  return connected
    .map(({ name, connectedSeconds }, at) => {
      const own = jobs.filter(({ worker }) => worker === name);
      const longest = own.toSorted((a, b) => a.startedMs - b.startedMs)[0];
      const heartbeat = heartbeats[at];
      return {
        name,
        since: heartbeat?.startedAt ?? new Date(nowMs - connectedSeconds * 1_000).toISOString(),
        concurrency: heartbeat?.concurrency ?? null,
        active: own.length,
        longest:
          longest === undefined
            ? null
            : { jobId: longest.jobId, since: new Date(longest.startedMs).toISOString() },
      };
    })
    .toSorted((a, b) => a.name.localeCompare(b.name));
}

interface ActiveJob {
  readonly jobId: string;
  readonly worker: string;
  readonly startedMs: number;
}

async function readActive(
  queue: RefreshQueue,
  redis: Redis,
  ids: readonly string[],
): Promise<ActiveJob[]> {
  const pipeline = redis.pipeline();
  // BullMQ's names for the worker and for the time at which it took the job.
  for (const id of ids) pipeline.hmget(queue.toKey(id), 'pb', 'processedOn');
  const answers = (await pipeline.exec()) ?? [];
  return ids.flatMap((jobId, at): ActiveJob[] => {
    const [worker, startedMs] = (answers[at]?.[1] ?? []) as (string | null)[];
    // Done since, or written by hand.
    if (!worker || !startedMs || !isMoment(Number(startedMs))) return [];
    return [{ jobId, worker, startedMs: Number(startedMs) }];
  });
}

function isMoment(ms: number): boolean {
  return !Number.isNaN(new Date(ms).getTime());
}
