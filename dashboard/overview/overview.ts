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
import { newestStandingFailures } from '../../shared/failures/standing-failures.ts';
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
import { shared } from './shared-reading.ts';

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

/** Where the overview comes from. */
export interface OverviewParts {
  readonly config: Config;
  readonly database: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly disagreements: DisagreementCounter;
}

/**
 * Makes the function that reads the overview. Everybody who looks at the same time gets the same
 * reading, so the stores are asked once, however many look.
 */
export function overviewReader(parts: OverviewParts): (range: Range) => Promise<Overview> {
  const { config, redis } = parts;
  const readRest = shared(() => readFigures(parts));
  const readHistory = shared((range: Range) => inTime(readActivity(redis, config, range)));
  return async (range) => {
    const [rest, history] = await Promise.all([readRest('rest'), readHistory(range)]);
    return { ...rest, history: valueOf(history), disagreements: parts.disagreements.read() };
  };
}

/**
 * Queries both stores in parallel; never rejects. The work in Redis is constant, however many jobs
 * wait or have failed.
 */
async function readFigures(
  parts: OverviewParts,
): Promise<Omit<Overview, 'history' | 'disagreements'>> {
  const { config, database, redis, queue } = parts;
  const standing = countFailures(database);
  const summary = summarizeOutbox(database);
  const [
    counts,
    paused,
    backlogPaused,
    oldest,
    workers,
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
    inTime(standing),
    inTime(readFailures(parts, standing)),
    inTime(summary),
    inTime(countBacklog(database, config.BACKLOG_AFTER_MS, summary)),
    inTime(readReconciler(database)),
  ]);
  const queueCounts = valueOf(counts);
  return {
    queue:
      queueCounts === null
        ? null
        : { ...queueCounts, paused: valueOf(paused) ?? false, oldest: valueOf(oldest) },
    workers: valueOf(workers),
    failed: valueOf(failed),
    failures: valueOf(failures),
    outbox: valueOf(outbox),
    backlog: valueOf(backlog),
    backlogPaused: valueOf(backlogPaused) ?? false,
    reconciler: valueOf(reconciler) ?? undefined,
    redisIsAway: 'problem' in counts,
    // The one question that takes no time however much waits. A count that is late, because it steps
    // over millions of rows that were just deleted, doesn't mean that nobody answers.
    databaseIsAway: 'problem' in reconciler,
  };
}

function valueOf<T>(answer: Answer<T>): T | null {
  return 'value' in answer ? answer.value : null;
}

async function readFailures(parts: OverviewParts, standing: Promise<number>): Promise<Failures> {
  const [records, jobs, { recorded, unrecorded }] = await Promise.all([
    standing,
    parts.queue.getFailedCount(),
    newestStandingFailures(parts, FAILURES_READ),
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
