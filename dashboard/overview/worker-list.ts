import type { Redis } from 'ioredis';
import { readHeartbeats } from '../../shared/queue/activity.ts';
import { connectedWorkers } from '../../shared/queue/connected-workers.ts';
import type { Config } from '../../shared/process/config.ts';
import type { RefreshQueue } from '../../shared/queue/refresh-queue.ts';

// Running jobs examined; ten workers at the default concurrency have no more.
const ACTIVE_SHOWN = 2_000;

/** A worker that is connected to the queue. */
export interface WorkerOnline {
  readonly name: string;
  /** Start of the process, ISO 8601, UTC; without a heartbeat, of its connection. */
  readonly since: string;
  /** Jobs that it runs at once; null without a heartbeat. */
  readonly concurrency: number | null;
  /** Jobs in hand, among the first 2,000 running ones. */
  readonly active: number;
  /** The job it has had in hand longest. */
  readonly longest: { readonly jobId: string; readonly since: string } | null;
}

/**
 * Lists the connected workers, by name, with what each has in hand.
 * @throws an error from `ioredis`
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
  const inHand = byWorker(jobs);
  return connected
    .map(({ name, connectedSeconds }, at) => {
      const { count = 0, longest } = inHand.get(name) ?? {};
      const heartbeat = heartbeats[at];
      return {
        name,
        since: heartbeat?.startedAt ?? new Date(nowMs - connectedSeconds * 1_000).toISOString(),
        concurrency: heartbeat?.concurrency ?? null,
        active: count,
        longest:
          longest === undefined
            ? null
            : { jobId: longest.jobId, since: new Date(longest.startedMs).toISOString() },
      };
    })
    .toSorted((a, b) => a.name.localeCompare(b.name));
}

/** How many jobs each worker has, and which of them longest; in one pass, for thousands of workers. */
function byWorker(
  jobs: readonly ActiveJob[],
): Map<string, { readonly count: number; readonly longest: ActiveJob }> {
  const found = new Map<string, { count: number; longest: ActiveJob }>();
  for (const job of jobs) {
    const { count = 0, longest = job } = found.get(job.worker) ?? {};
    found.set(job.worker, {
      count: count + 1,
      longest: job.startedMs < longest.startedMs ? job : longest,
    });
  }
  return found;
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
  // BullMQ's fields for the worker and for when it took the job.
  for (const id of ids) pipeline.hmget(queue.toKey(id), 'pb', 'processedOn');
  const answers = (await pipeline.exec()) ?? [];
  return ids.flatMap((jobId, at): ActiveJob[] => {
    const [worker, startedMs] = (answers[at]?.[1] ?? []) as (string | null)[];
    // Finished meanwhile, or not written by BullMQ.
    if (!worker || !startedMs || !isMoment(Number(startedMs))) return [];
    return [{ jobId, worker, startedMs: Number(startedMs) }];
  });
}

function isMoment(ms: number): boolean {
  return !Number.isNaN(new Date(ms).getTime());
}
