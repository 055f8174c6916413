import type { Database } from '../postgres/database.ts';
import {
  failureRecordPages,
  newestFailureRecords,
  readFailureRecord,
  recordedJobs,
  type FailureRecord,
} from '../postgres/failures.ts';
import { failedPages, newestFailures, readFailedReasons, type QueueAccess } from './failed-jobs.ts';
import type { Failure } from './failure-causes.ts';

/** What one needs to know of failures: Postgres has the records, Redis the jobs. */
export interface FailureStores extends QueueAccess {
  readonly database: Database;
}

/** A page of failures, and how many records and jobs were looked at for it. */
export interface FailurePage {
  readonly failures: readonly Failure[];
  readonly seen: number;
}

/**
 * Gives everything that failed for good before it was called and still needs a person, page by page: the records in
 * Postgres first, then the failed jobs that have none (their data is no refresh, or an older version left them). A failed
 * job with a record that is overtaken, because its execution was refreshed or failed again since, is not given.
 * @param executionId only what is about this execution
 * @throws the error of `pg` or ioredis
 */
export async function* failurePages(
  stores: FailureStores,
  executionId?: number,
): AsyncGenerator<FailurePage> {
  for await (const records of recordPages(stores.database, executionId)) {
    yield { failures: await failuresOf(stores, records), seen: records.length };
  }
  for await (const { jobs, seen } of failedPages(stores)) {
    const asked = jobs.filter(
      ({ identity }) => executionId === undefined || identity?.executionId === executionId,
    );
    yield { failures: await withoutRecord(stores.database, asked), seen };
  }
}

/**
 * The newest failures that still need a person.
 * @param limit how many records at most, and how many failed jobs are looked at for those without a record
 * @throws the error of `pg` or ioredis
 */
export async function newestStandingFailures(
  stores: FailureStores,
  limit: number,
): Promise<{ readonly recorded: readonly Failure[]; readonly unrecorded: readonly Failure[] }> {
  const [records, jobs] = await Promise.all([
    newestFailureRecords(stores.database, limit),
    newestFailures(stores, limit),
  ]);
  return {
    recorded: await failuresOf(stores, records),
    unrecorded: await withoutRecord(stores.database, jobs),
  };
}

async function* recordPages(
  database: Database,
  executionId: number | undefined,
): AsyncGenerator<FailureRecord[]> {
  if (executionId === undefined) {
    yield* failureRecordPages(database);
    return;
  }
  const record = await readFailureRecord(database, executionId);
  if (record !== undefined) yield [record];
}

async function failuresOf(
  stores: QueueAccess,
  records: readonly FailureRecord[],
): Promise<Failure[]> {
  // Records of older versions have no error; while Redis has the job, it does.
  const reasons = await readFailedReasons(
    stores,
    records.filter(({ error }) => error === null).map(({ jobId }) => jobId),
  );
  return records.map(({ jobId, executionId, vendor, error, firstFailedAtMs, failedAtMs }) => ({
    jobId,
    identity: { executionId, vendor },
    error: error ?? reasons.get(jobId) ?? '',
    firstFailedAtMs,
    failedAtMs,
  }));
}

async function withoutRecord(database: Database, jobs: readonly Failure[]): Promise<Failure[]> {
  if (jobs.length === 0) return [];
  const recorded = await recordedJobs(
    database,
    jobs.map(({ jobId }) => jobId),
  );
  return jobs.filter(({ jobId }) => !recorded.has(jobId));
}
