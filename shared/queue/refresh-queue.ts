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

const JOB_NAME = 'refresh';
// One pipeline of 10,000 adds blocks the other clients of a Redis for about 200 ms.
const ADD_CHUNK = 1_000;
const SUFFIX_BYTES = 6;
// In base64url, 6 bits a character.
const SUFFIX_LENGTH = 8;

export type RefreshQueue = Queue<Identity, void, typeof JOB_NAME>;
export type RefreshJob = Job<Identity, void, typeof JOB_NAME>;

/**
 * How every queue and worker of BullMQ uses its connection, so that it works whenever the connection does. By itself
 * BullMQ asks for the server's version (`INFO`) once, and when that is refused, for example because the server is still
 * loading, it answers every later call with that first error. Whoever connects checks the version instead.
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
  // What it takes a server for that it hasn't asked. Its own default, 5.0, would have it wait for jobs in whole seconds.
  bullmq.RedisConnection.minimumVersion = OLDEST_REDIS;
  return {
    connection: redis,
    prefix: config.QUEUE_PREFIX,
    skipVersionCheck: true,
    // Without this, an add while Redis is away at the start hangs under every timeout.
    skipWaitingForReady: true,
  };
}

/**
 * The queue as producers, dashboard and commands use it. Closing it leaves the connection open.
 * @param options `readOnly`: for whoever only looks; BullMQ otherwise notes its version and settings under a key
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
      // Nobody builds on the events; they are kept for people who look with QueueEvents.
      streams: { events: { maxLen: 1_000 } },
    },
    createReadableBackend,
  );
  // The connection's own listener logs outages.
  queue.on('error', () => undefined);
  return queue;
}

/**
 * Puts refreshes on the queue; the only place that decides how a job is identified.
 *
 * At most one job of an identity waits, and an add while one runs causes exactly one more run:
 * that is BullMQ's deduplication with `keepLastIfActive`, and nothing else (a `ttl` or `replace`
 * loses changes). The job id must differ each time, because BullMQ looks at it before it
 * deduplicates; it carries the identity for people. At least once: on an error some may have been
 * added; asking again is harmless.
 * @throws the error of ioredis when Redis can't take them
 */
export async function enqueueRefreshes(
  queue: RefreshQueue,
  identities: readonly Identity[],
): Promise<void> {
  for (let from = 0; from < identities.length; from += ADD_CHUNK) {
    const chunk = identities.slice(from, from + ADD_CHUNK);
    // One draw for all: drawing for each took a twentieth of the relay's time.
    const suffixes = randomBytes(chunk.length * SUFFIX_BYTES).toString('base64url');
    await queue.addBulk(
      chunk.map((identity, n) =>
        newJob(identity, suffixes.slice(n * SUFFIX_LENGTH, (n + 1) * SUFFIX_LENGTH)),
      ),
    );
  }
}

/**
 * The identity in job ids and deduplication ids, `42:REPLICATION`. A colon in a vendor would make BullMQ
 * refuse the job id, and other characters have a meaning in addresses and in patterns of Redis; so what isn't
 * a letter or digit of ASCII, `_`, `.` or `-` is written as the bytes of UTF-8, each as `~` and two digits: `a:b` is `a~3Ab`.
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
 * Retries a failed job by hand: the identity is put on the queue again, then the failed job is
 * removed. (BullMQ's own retry doesn't take the deduplication key back, so it may run beside a newer
 * job.) A crash in between leaves both, never neither.
 */
export async function retryFailedRefresh(
  queue: RefreshQueue,
  job: { readonly data: unknown; remove(): Promise<void> },
): Promise<void> {
  await enqueueRefreshes(queue, [readPayload(job.data)]);
  await job.remove();
}

/**
 * The identity in a job's payload. Anyone with access to Redis can add jobs, so it is checked.
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

/** Counts the queue's jobs; constant time in Redis. */
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

/** Seconds since the job that is next in line was put on the queue, or null when none waits. */
export async function oldestWaitingSeconds(queue: RefreshQueue): Promise<number | null> {
  const [job] = await queue.getJobs(['waiting'], 0, 0, true);
  return job ? Math.max(0, (Date.now() - job.timestamp) / 1000) : null;
}

/** The key by which the relay knows that Redis still is the one it sent to: gone after a flush. */
export function relayMarkerKey(config: Config): string {
  return `${config.QUEUE_PREFIX}:${REFRESH_QUEUE}-relay`;
}
