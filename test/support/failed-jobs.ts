import { formatIdentity, type Identity } from '../../shared/execution.ts';
import type { QueueAccess } from '../../shared/queue/failed-jobs.ts';

export interface FailedJob {
  readonly jobId: string;
  /** What the job was about; anything that can be JSON. */
  readonly data: unknown;
  readonly error: string;
  /** Milliseconds since 1970; default: now. */
  readonly failedAtMs?: number;
}

const CHUNK = 1_000;

/** Puts jobs into the failed state as BullMQ keeps them, tens of thousands in a moment. */
export async function createFailedJobs(
  { queue, redis }: QueueAccess,
  jobs: readonly FailedJob[],
): Promise<void> {
  for (let from = 0; from < jobs.length; from += CHUNK) {
    const pipeline = redis.pipeline();
    for (const { jobId, data, error, failedAtMs = Date.now() } of jobs.slice(from, from + CHUNK)) {
      pipeline.hset(queue.toKey(jobId), {
        name: 'refresh',
        data: JSON.stringify(data),
        opts: '{}',
        timestamp: failedAtMs,
        processedOn: failedAtMs,
        finishedOn: failedAtMs,
        failedReason: error,
        stacktrace: '[]',
        atm: 5,
        ats: 5,
      });
      pipeline.zadd(queue.toKey('failed'), failedAtMs, jobId);
    }
    await pipeline.exec();
  }
}

/** Failed jobs of the executions 1 to `count`, each of another one. */
export function failuresOf(
  count: number,
  error: (executionId: number) => string = () => 'no',
): FailedJob[] {
  return Array.from({ length: count }, (_none, index) => ({
    jobId: `${index + 1}:REPLICATION:test`,
    data: { executionId: index + 1, vendor: 'REPLICATION' },
    error: error(index + 1),
  }));
}

/**
 * Adds jobs that failed a minute ago, the first the oldest.
 * @param data the payload of each; an identity also gives the job its id
 */
export async function addFailedJobs(
  stores: QueueAccess,
  count: number,
  data: (n: number) => unknown,
): Promise<void> {
  const before = await stores.queue.getFailedCount();
  const firstMs = Date.now() - 60_000 + before;
  const jobs = Array.from({ length: count }, (_none, n) => {
    const payload = data(n);
    return {
      jobId: `${nameOf(payload)}:made${before + n}`,
      data: payload,
      error: `quota of project ${n} is used up`,
      failedAtMs: firstMs + n,
    };
  });
  await createFailedJobs(stores, jobs);
}

function nameOf(payload: unknown): string {
  const identity = payload as Partial<Identity> | undefined;
  return identity?.vendor === undefined ? 'not:one' : formatIdentity(identity as Identity);
}
