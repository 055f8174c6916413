import type { Database } from '../postgres/database.ts';
import {
  failureRecordPages,
  newestFailureRecords,
  readFailureRecord,
  recordedJobs,
  type FailureRecord,
} from '../postgres/failures.ts';
import {
  failedPages,
  newestFailures,
  readFailedJobs,
  readFailedReasons,
  type QueueAccess,
} from '../queue/failed-jobs.ts';
import type { Failure } from '../queue/failure-causes.ts';

/** What reading failures takes: Postgres has the records, Redis the jobs. */
export interface FailureStores extends QueueAccess {
  readonly database: Database;
}

/** A page of failures, and how many records and jobs were examined for it. */
export interface FailurePage {
  readonly failures: readonly Failure[];
  readonly seen: number;
}

/**
 * Yields everything that failed for good before the call and still needs a person, page by page:
 * first the records in Postgres, then the failed jobs without one (their data is no refresh, or an
 * older version left them). A failed job whose record is obsolete, because its execution was
 * refreshed or failed again since, is left out.
 * @param executionId limits it to one execution
 * @throws an error from `pg` or `ioredis`
 */
export async function* failurePages(
  stores: FailureStores,
  executionId?: number,
): AsyncGenerator<FailurePage> {
  for await (const records of readAhead(recordPages(stores.database, executionId))) {
    yield { failures: await failuresOf(stores, records), seen: records.length };
  }
  // Not ahead: while a caller removes the jobs of a page, Redis may return some of them once more.
  for await (const { entries, seen } of failedPages(stores)) {
    // Nearly all have a record, so only the few without one are read.
    const jobs = await readFailedJobs(stores, await withoutRecord(stores.database, entries));
    const failures = jobs.filter(
      ({ identity }) => executionId === undefined || identity?.executionId === executionId,
    );
    yield { failures, seen };
  }
}

/**
 * The newest failures that still need a person.
 * @param limit most records to return, and most failed jobs to examine for those without a record
 * @throws an error from `pg` or `ioredis`
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

/** Reads the next page while the caller works on the present one. */
async function* readAhead<Page>(pages: AsyncGenerator<Page>): AsyncGenerator<Page> {
  try {
    for (let next = pages.next(); ;) {
      const { done, value } = await next;
      if (done === true) return;
      next = pages.next();
      // Its error is thrown when its turn comes; until then nobody awaits it.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await pages.return(undefined);
  }
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
  // Records of older versions have no error; its job does, while Redis has it.
  const reasons = await readFailedReasons(
    stores,
    records.filter(({ error }) => error === null).map(({ jobId }) => jobId),
  );
  return records.map(({ executionId, vendor, ...record }) => ({
    jobId: record.jobId,
    identity: { executionId, vendor },
    error: record.error ?? reasons.get(record.jobId) ?? '',
    sqlState: record.sqlState,
    firstFailedAtMs: record.firstFailedAtMs,
    failedAtMs: record.failedAtMs,
  }));
}

async function withoutRecord<Job extends { readonly jobId: string }>(
  database: Database,
  jobs: readonly Job[],
): Promise<Job[]> {
  if (jobs.length === 0) return [];
  const recorded = await recordedJobs(
    database,
    jobs.map(({ jobId }) => jobId),
  );
  return jobs.filter(({ jobId }) => !recorded.has(jobId));
}
