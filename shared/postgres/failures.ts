import type { Identity } from '../execution.ts';
import type { Database } from './database.ts';
import { STATEMENT_ROWS } from './outbox.ts';
import { ORDERED_BY_INDEX } from './pinned.ts';

/** Records per page; at most 4 MB of errors. */
const PAGE = 2_000;
/** Characters of an error that are kept; a message may contain a whole statement. */
export const ERROR_MAX = 2_000;

/** An execution whose refresh failed for good and that still needs a person. */
export interface FailureRecord extends Identity {
  /** The job that failed most recently. Redis may have lost it. */
  readonly jobId: string;
  /** Null in records that an older version wrote; then only the job has it. */
  readonly error: string | null;
  /** The SQLSTATE, if the error came from Postgres. */
  readonly sqlState: string | null;
  readonly attempts: number | null;
  /** How many of the execution's jobs failed for good since its last refresh. */
  readonly times: number;
  /** Milliseconds since 1970 by the clock of Postgres, as is `failedAtMs`. */
  readonly firstFailedAtMs: number;
  readonly failedAtMs: number;
}

const STANDING = 'NOT f.refreshed AND NOT f.superseded';
const COLUMNS = `f.job_id AS "jobId", f.execution_id AS "executionId", f.vendor, f.error, f.sqlstate AS "sqlState",
  f.attempts, f.times,
  floor(extract(epoch FROM coalesce(f.first_failed_at, f.failed_at)) * 1000)::double precision AS "firstFailedAtMs",
  floor(extract(epoch FROM f.failed_at) * 1000)::double precision AS "failedAtMs"`;

/**
 * Records that an execution's refresh failed for good. From here on that is known, whatever happens
 * to the job.
 *
 * The same statement deletes the outbox rows that the job was sent for: those sent before its last
 * attempt began, 20,000 at most; the others are sent again, and then it is their turn. A row that was
 * sent later belongs to another job. A row that a refresh is just deleting is left to that refresh,
 * which waits for this record. A status that the host stored before one of those changes no longer
 * overrides a retry.
 * @param failure `attemptMs`: milliseconds since the last attempt began; compared by the database's
 *   clock
 * @throws an error from `pg`; then nothing is recorded and no row is deleted
 */
export async function recordFailure(
  database: Database,
  failure: Identity & {
    readonly jobId: string;
    readonly error: string;
    readonly sqlState: string | undefined;
    readonly attempts: number;
    readonly attemptMs: number;
  },
): Promise<void> {
  await database.query(
    `WITH older AS (
       UPDATE tally.failure f SET superseded = true
        WHERE f.execution_id = $2 AND f.job_id <> $1 AND ${STANDING}
       RETURNING f.times, coalesce(f.first_failed_at, f.failed_at) AS first_failed_at
     ), done AS (
       DELETE FROM tally.outbox
        WHERE id = ANY (ARRAY(
              SELECT id FROM tally.outbox
               WHERE execution_id = $2 AND sent_at < clock_timestamp() - $7 * interval '1 millisecond'
               LIMIT ${STATEMENT_ROWS}
                 FOR UPDATE SKIP LOCKED))
       RETURNING id, execution_id, changed_in, only_finishes
     ), overruled AS (
       DELETE FROM tally.host_word w USING done d
        WHERE w.execution_id = d.execution_id
          AND tally.overrules(d.id, d.changed_in, d.only_finishes, w.outbox_id, w.stored_in, w.snapshot)
     )
     INSERT INTO tally.failure AS f (job_id, execution_id, vendor, error, sqlstate, attempts, times, first_failed_at)
     SELECT $1, $2, $3, $4, $5, $6, 1 + coalesce(sum(o.times), 0), coalesce(min(o.first_failed_at), clock_timestamp())
       FROM older o
     ON CONFLICT (job_id) DO UPDATE
        SET error = excluded.error, sqlstate = excluded.sqlstate, attempts = excluded.attempts,
            failed_at = clock_timestamp(), refreshed = false, superseded = false,
            first_failed_at = CASE WHEN f.refreshed THEN clock_timestamp() ELSE coalesce(f.first_failed_at, f.failed_at) END`,
    [
      failure.jobId,
      failure.executionId,
      failure.vendor,
      storable(failure.error),
      failure.sqlState ?? null,
      failure.attempts,
      failure.attemptMs,
    ],
  );
}

/**
 * Records failed jobs that have no record: those of older versions, and those that failed while
 * nothing could be recorded. Jobs that were recorded meanwhile are left as they are.
 * @returns how many were recorded
 * @throws an error from `pg`
 */
export async function adoptFailures(
  database: Database,
  jobs: readonly (Identity & {
    readonly jobId: string;
    readonly error: string;
    readonly failedAtMs: number;
  })[],
): Promise<number> {
  const rows = await database.query(
    `INSERT INTO tally.failure (job_id, execution_id, vendor, error, failed_at, superseded)
     SELECT j.job_id, j.execution_id, j.vendor, j.error, to_timestamp(j.failed_at / 1000),
            -- A newer failure of the execution stands already, or comes with the same page.
            EXISTS (SELECT FROM tally.failure f WHERE f.execution_id = j.execution_id AND ${STANDING})
              OR row_number() OVER (PARTITION BY j.execution_id ORDER BY j.failed_at DESC) > 1
       FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::double precision[])
            AS j (job_id, execution_id, vendor, error, failed_at)
     ON CONFLICT (job_id) DO NOTHING RETURNING 1`,
    [
      jobs.map(({ jobId }) => jobId),
      jobs.map(({ executionId }) => executionId),
      jobs.map(({ vendor }) => vendor),
      jobs.map(({ error }) => storable(error)),
      jobs.map(({ failedAtMs }) => failedAtMs),
    ],
  );
  return rows.length;
}

/**
 * How many executions failed for good and still need a person.
 * @throws an error from `pg`
 */
export async function countFailures(database: Database): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    `SELECT count(*) AS count FROM tally.failure f WHERE ${STANDING}`,
  );
  return row?.count ?? 0;
}

/** Executions that failed for good for the same reason, as far as Postgres names it. */
export interface FailureCount {
  readonly sqlState: string | null;
  /** The violated constraint, in class 23 of SQLSTATE; null if the message names none. */
  readonly constraint: string | null;
  readonly count: number;
}

/**
 * How many executions failed for good and still need a person, by SQLSTATE and violated constraint.
 * The counts add up to that of {@link countFailures}.
 * @throws an error from `pg`
 */
export function countFailuresByCause(database: Database): Promise<FailureCount[]> {
  // Of 50,000 violated constraints, this takes 36 ms (a count alone 12) and a regular expression 517 ms.
  return database.query<FailureCount & Record<string, unknown>>(
    `SELECT f.sqlstate AS "sqlState",
            CASE WHEN f.sqlstate LIKE '23%'
                 THEN nullif(split_part(split_part(f.error, 'constraint "', 2), '"', 1), '') END AS "constraint",
            count(*) AS count
       FROM tally.failure f WHERE ${STANDING} GROUP BY 1, 2`,
  );
}

/** The newest records, newest first. @throws an error from `pg` */
export function newestFailureRecords(database: Database, limit: number): Promise<FailureRecord[]> {
  return database.query<FailureRecord & Record<string, unknown>>(
    `SELECT ${COLUMNS} FROM tally.failure f WHERE ${STANDING} ORDER BY f.failed_at DESC LIMIT $1`,
    [limit],
  );
}

/** The record of one execution, if it has one. @throws an error from `pg` */
export async function readFailureRecord(
  database: Database,
  executionId: number,
): Promise<FailureRecord | undefined> {
  const [record] = await database.query<FailureRecord & Record<string, unknown>>(
    `SELECT ${COLUMNS} FROM tally.failure f WHERE f.execution_id = $1 AND ${STANDING}
      ORDER BY f.failed_at DESC LIMIT 1`,
    [executionId],
  );
  return record;
}

/**
 * The jobs of one execution that failed for good, newest first, obsolete ones included. Redis may
 * have lost any of them.
 * @throws an error from `pg`
 */
export async function failedJobsOf(
  database: Database,
  executionId: number,
  limit: number,
): Promise<string[]> {
  const rows = await database.query<{ id: string }>(
    `SELECT f.job_id AS id FROM tally.failure f WHERE f.execution_id = $1
      ORDER BY f.failed_at DESC LIMIT $2`,
    [executionId, limit],
  );
  return rows.map(({ id }) => id);
}

/**
 * Yields all records written before the call, page by page, in no particular order. Records that
 * are written or deleted meanwhile may be missing, so it always ends.
 * @throws an error from `pg`
 */
export async function* failureRecordPages(database: Database): AsyncGenerator<FailureRecord[]> {
  // As text, because a Date would lose the microseconds.
  const [now] = await database.query<{ now: string }>('SELECT clock_timestamp()::text AS now');
  for (let after: string | undefined = ''; after !== undefined;) {
    const page: FailureRecord[] = await database.query<FailureRecord & Record<string, unknown>>(
      `SELECT ${COLUMNS} FROM tally.failure f
        WHERE ${STANDING} AND f.job_id > $1 AND f.failed_at <= $2::timestamptz
        ORDER BY f.job_id LIMIT $3`,
      [after, now?.now, PAGE],
      ORDERED_BY_INDEX,
    );
    if (page.length > 0) yield page;
    after = page.length < PAGE ? undefined : page.at(-1)?.jobId;
  }
}

/**
 * Which of these jobs have a record, obsolete or not.
 * @param jobIds at most a page
 * @throws an error from `pg`
 */
export async function recordedJobs(
  database: Database,
  jobIds: readonly string[],
): Promise<Set<string>> {
  const rows = await database.query<{ id: string }>(
    'SELECT job_id AS id FROM tally.failure WHERE job_id = ANY ($1)',
    // Postgres can't store the character 0, so a job with such an id has no record.
    [jobIds.filter((id) => !id.includes('\0'))],
  );
  return new Set(rows.map(({ id }) => id));
}

/**
 * Forgets the failures of these jobs, for a person who has decided that nothing needs to be done.
 * @param jobIds at most a page
 * @throws an error from `pg`
 */
export async function dropFailures(database: Database, jobIds: readonly string[]): Promise<void> {
  // Including older records of the same executions, which would otherwise count as failures again.
  await database.query(
    `DELETE FROM tally.failure
      WHERE execution_id IN (SELECT f.execution_id FROM tally.failure f WHERE f.job_id = ANY ($1) AND ${STANDING})`,
    [jobIds],
  );
}

// Postgres can store neither the character 0 nor a lone surrogate.
function storable(error: string): string {
  return error
    .replaceAll('\0', '')
    .slice(0, ERROR_MAX)
    .replaceAll(/\p{Surrogate}/gu, '\ufffd');
}
