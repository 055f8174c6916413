import type { Redis } from 'ioredis';
import { isBacklogPaused } from '../../shared/queue/backlog-queue.ts';
import {
  readActivity,
  type ActivityHistory,
  type Range,
} from '../../shared/queue/activity-history.ts';
import type { Config } from '../../shared/process/config.ts';
import { countBacklog } from '../../shared/postgres/backlog.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import { FailureCauses, type FailureCause } from '../../shared/queue/failure-causes.ts';
import { newestStandingFailures } from '../../shared/queue/failures.ts';
import { summarizeOutbox, type OutboxSummary } from '../../shared/postgres/outbox.ts';
import {
  countJobs,
  oldestWaitingSeconds,
  type QueueCounts,
  type RefreshQueue,
} from '../../shared/queue/refresh-queue.ts';
import type { DisagreementCount, DisagreementCounter } from './disagreement-count.ts';
import { listWorkers, type WorkerOnline } from './worker-list.ts';
import { inTime, type Answer } from '../page.ts';

/**
 * How many of the newest failures are grouped by cause: this many records, and this many failed
 * jobs without a record.
 */
export const FAILURES_READ = 1_000;

/** The reconciler's figures from `tally.reconciler`. */
interface ReconcilerNote {
  readonly found: number;
  readonly lastPassAt: string | null;
}

/**
 * What failed for good and still needs a person, grouped by cause: executions, and failed jobs that
 * are no refresh.
 */
export interface Failures {
  /** Causes of the newest `FAILURES_READ`. */
  readonly causes: readonly FailureCause[];
  /** Older failures exist that weren't read. */
  readonly more: boolean;
}

/** Everything on the overview. A part is null when its store doesn't answer. */
export interface Overview {
  readonly queue:
    (QueueCounts & { readonly paused: boolean; readonly oldest: number | null }) | null;
  readonly workers: readonly WorkerOnline[] | null;
  readonly history: ActivityHistory | null;
  /**
   * Executions that need a person: records in Postgres, as every command and metric counts them.
   */
  readonly failed: number | null;
  readonly failures: Failures | null;
  readonly outbox: OutboxSummary | null;
  /** Outbox rows old enough for the backlog lane. */
  readonly backlog: number | null;
  readonly backlogPaused: boolean;
  /** Null until they have been counted once. */
  readonly disagreements: DisagreementCount | null;
  /** Undefined until a reconciler has completed a pass. */
  readonly reconciler: ReconcilerNote | undefined;
  readonly redisIsAway: boolean;
  readonly databaseIsAway: boolean;
}

/**
 * Queries both stores in parallel; never rejects. The work in Redis is constant, however many jobs
 * wait or have failed.
 */
export async function readOverview(parts: {
  readonly config: Config;
  readonly database: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly disagreements: DisagreementCounter;
  readonly range: Range;
}): Promise<Overview> {
  const { config, database, redis, queue } = parts;
  const [
    counts,
    paused,
    backlogPaused,
    oldest,
    workers,
    history,
    failed,
    failures,
    outbox,
    backlog,
    reconciler,
  ] = await Promise.all([
    inTime(countJobs(queue)),
    inTime(queue.isPaused()),
    inTime(isBacklogPaused(config, redis)),
    inTime(oldestWaitingSeconds(queue)),
    inTime(listWorkers(queue, redis, config)),
    inTime(readActivity(redis, config, parts.range)),
    inTime(countFailures(database)),
    inTime(readFailures(parts)),
    inTime(summarizeOutbox(database)),
    inTime(countBacklog(database, config.BACKLOG_AFTER_MS)),
    inTime(readReconciler(database)),
  ]);
  const queueCounts = valueOf(counts);
  return {
    queue:
      queueCounts === null
        ? null
        : { ...queueCounts, paused: valueOf(paused) ?? false, oldest: valueOf(oldest) },
    workers: valueOf(workers),
    history: valueOf(history),
    failed: valueOf(failed),
    failures: valueOf(failures),
    outbox: valueOf(outbox),
    backlog: valueOf(backlog),
    backlogPaused: valueOf(backlogPaused) ?? false,
    disagreements: parts.disagreements.read(),
    reconciler: valueOf(reconciler) ?? undefined,
    redisIsAway: 'problem' in counts,
    databaseIsAway: 'problem' in outbox,
  };
}

function valueOf<T>(answer: Answer<T>): T | null {
  return 'value' in answer ? answer.value : null;
}

async function readFailures(stores: Parameters<typeof readOverview>[0]): Promise<Failures> {
  const [records, jobs, { recorded, unrecorded }] = await Promise.all([
    countFailures(stores.database),
    stores.queue.getFailedCount(),
    newestStandingFailures(stores, FAILURES_READ),
  ]);
  const causes = new FailureCauses();
  for (const failure of [...recorded, ...unrecorded]) causes.add(failure);
  return {
    causes: causes.list(),
    more: records > FAILURES_READ || jobs > FAILURES_READ,
  };
}

async function readReconciler(database: Database): Promise<ReconcilerNote | undefined> {
  const [note] = await database.query<{ found: number; at: Date | null }>(
    'SELECT found_total AS found, last_pass_at AS at FROM tally.reconciler',
  );
  return note && { found: note.found, lastPassAt: note.at?.toISOString() ?? null };
}
