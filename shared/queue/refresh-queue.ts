import { randomBytes } from 'node:crypto';
import type { Job, JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../process/config.ts';
import { TallyError } from '../errors.ts';
import { executionIdProblem, formatIdentity, vendorProblem, type Identity } from '../execution.ts';
import { bullmq } from './packages.ts';
import { REFRESH_QUEUE } from './queue-names.ts';
import { createReadableBackend, isNotJson } from './readable-jobs.ts';
import { OLDEST_REDIS } from './redis-server.ts';
import type { TracedRequest, Tracing } from '../tracing/tracing.ts';

const JOB_NAME = 'refresh';
// A pipeline of 10,000 adds blocks Redis' other clients for about 200 ms.
const ADD_CHUNK = 1_000;
const SUFFIX_BYTES = 6;
// In base64url, at 6 bits per character.
const SUFFIX_LENGTH = 8;

/** The queue `refresh`. */
export type RefreshQueue = Queue<Identity, void, typeof JOB_NAME>;
/** A job of the express lane. */
export type RefreshJob = Job<Identity, void, typeof JOB_NAME>;

/**
 * Options with which every BullMQ queue and worker uses its connection, so that it works whenever
 * the connection does. BullMQ's own check asks for the server's version (`INFO`) once. If that is
 * refused, for example because the server is still loading, every later call fails with that first
 * error. Whoever connects checks the version instead.
 */
export function bullmqOptions(
  config: Config,
  redis: Redis,
): {
  readonly connection: Redis;
  readonly prefix: string;
  readonly skipVersionCheck: true;
  readonly skipWaitingForReady: true;
} {
  // The version that BullMQ assumes without the check. Its default, 5.0, would make it wait for
  // jobs in whole seconds.
  bullmq.RedisConnection.minimumVersion = OLDEST_REDIS;
  return {
    connection: redis,
    prefix: config.QUEUE_PREFIX,
    skipVersionCheck: true,
    // Without this, an add hangs beyond every timeout if Redis is unavailable at the start.
    skipWaitingForReady: true,
  };
}

/**
 * Opens the queue `refresh` for producers, dashboard and commands. Closing the queue leaves the
 * connection open.
 * @param options `readOnly` for callers that only read; otherwise BullMQ writes its version and
 *   settings to a key
 */
export function openRefreshQueue(
  config: Config,
  redis: Redis,
  options: { readonly readOnly?: boolean } = {},
): RefreshQueue {
  const queue: RefreshQueue = new bullmq.Queue(
    REFRESH_QUEUE,
    {
      ...bullmqOptions(config, redis),
      skipMetasUpdate: options.readOnly === true,
      // Nothing depends on the events; they are kept for people who use QueueEvents.
      streams: { events: { maxLen: 1_000 } },
    },
    createReadableBackend,
  );
  // The connection's own listener logs outages.
  queue.on('error', () => undefined);
  return queue;
}

/**
 * Puts refreshes on the queue. Only this function decides how a job is identified.
 *
 * At most one job of an identity waits, and an add while one runs causes exactly one more run.
 * BullMQ's deduplication with `keepLastIfActive` does that, and nothing else does (a `ttl` or
 * `replace` loses changes). The job id must differ each time, because BullMQ checks it before it
 * deduplicates; it contains the identity for people.
 *
 * At least once: after an error some may have been added, and repeating the call is harmless.
 * @throws an error from `ioredis` if Redis can't take them
 */
export async function enqueueRefreshes(
  queue: RefreshQueue,
  identities: readonly (Identity & TracedRequest)[],
  tracing?: Tracing,
): Promise<void> {
  for (let from = 0; from < identities.length; from += ADD_CHUNK) {
    const chunk = identities.slice(from, from + ADD_CHUNK);
    // One draw for all: separate draws took a twentieth of the relay's time.
    const suffixes = randomBytes(chunk.length * SUFFIX_BYTES).toString('base64url');
    const jobs = chunk.map((identity, n) =>
      newJob(identity, suffixes.slice(n * SUFFIX_LENGTH, (n + 1) * SUFFIX_LENGTH)),
    );
    await (tracing === undefined
      ? queue.addBulk(jobs)
      : tracing.send(chunk, jobs, () => queue.addBulk(jobs)));
  }
}

/**
 * The identity as job ids and deduplication ids contain it, `42:REPLICATION`. BullMQ refuses a job
 * id with a colon in the vendor, and other characters have a meaning in URLs and in Redis patterns.
 * So any character other than an ASCII letter or digit, `_`, `.` or `-` is encoded as its UTF-8
 * bytes, each as `~` and two hex digits: `a:b` becomes `a~3Ab`.
 */
export function queueIdentity({ executionId, vendor }: Identity): string {
  const name = vendor.replaceAll(/[^\w.-]/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `~${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
  return formatIdentity({ executionId, vendor: name });
}

function newJob(
  { executionId, vendor }: Identity,
  suffix: string,
): {
  name: typeof JOB_NAME;
  data: Identity;
  opts: JobsOptions;
} {
  const id = queueIdentity({ executionId, vendor });
  return {
    name: JOB_NAME,
    data: { executionId, vendor },
    opts: {
      jobId: `${id}:${suffix}`,
      deduplication: { id, keepLastIfActive: true },
    },
  };
}

/**
 * Retries a failed job on request: puts the identity on the queue again, then removes the failed
 * job. (BullMQ's own retry doesn't take the deduplication key back, so the job may run beside a
 * newer one.) A crash in between leaves both, never neither.
 * @throws TallyError BAD_PAYLOAD
 * @throws an error from `ioredis`
 */
export async function retryFailedRefresh(
  queue: RefreshQueue,
  job: { readonly data: unknown; remove(): Promise<void> },
): Promise<void> {
  await enqueueRefreshes(queue, [readPayload(job.data)]);
  await job.remove();
}

/**
 * The identity in a job's payload. It is validated, because anyone with access to Redis can add
 * jobs.
 * @throws TallyError BAD_PAYLOAD with what is wrong
 */
export function readPayload(data: unknown): Identity {
  const { executionId, vendor } =
    typeof data === 'object' && data !== null ? (data as Partial<Identity>) : {};
  const problem = isNotJson(data)
    ? 'it is not JSON'
    : (executionIdProblem(executionId) ?? vendorProblem(vendor));
  if (problem !== undefined || executionId === undefined || vendor === undefined) {
    throw new TallyError(
      'BAD_PAYLOAD',
      `the job's data is not a refresh ({"executionId":42,"vendor":"REPLICATION"}): ${problem}`,
    );
  }
  return { executionId, vendor };
}

/** Jobs by state; those of a paused queue count as waiting. */
export interface QueueCounts {
  readonly waiting: number;
  readonly active: number;
  readonly delayed: number;
  readonly failed: number;
}

/** Counts the queue's jobs, in constant time in Redis. @throws an error from `ioredis` */
export async function countJobs(queue: RefreshQueue): Promise<QueueCounts> {
  const counts = await queue.getJobCounts('waiting', 'prioritized', 'active', 'delayed', 'failed');
  const of = (state: string): number => counts[state] ?? 0;
  return {
    waiting: of('waiting') + of('prioritized'),
    active: of('active'),
    delayed: of('delayed'),
    failed: of('failed'),
  };
}

/**
 * Seconds since the next job in line was enqueued; null if none waits.
 * @throws an error from `ioredis`
 */
export async function oldestWaitingSeconds(queue: RefreshQueue): Promise<number | null> {
  const [job] = await queue.getJobs(['waiting'], 0, 0, true);
  return job ? Math.max(0, (Date.now() - job.timestamp) / 1000) : null;
}

/** The key from which the relay knows that Redis still has what it sent; a flush removes it. */
export function relayMarkerKey(config: Config): string {
  return `${config.QUEUE_PREFIX}:${REFRESH_QUEUE}-relay`;
}
