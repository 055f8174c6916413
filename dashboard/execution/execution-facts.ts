import type { Database } from '../../shared/postgres/database.ts';
import { readFailureRecord } from '../../shared/postgres/failures.ts';
import { readSql } from '../../shared/postgres/schema.ts';
import { KNOWN_STATUSES } from '../../shared/postgres/unknown-statuses.ts';
import { readSetByHand } from '../set-by-hand.ts';

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;

/** What Postgres knows about one execution. Times are ISO 8601, UTC. */
export interface ExecutionFacts {
  readonly executionId: number;
  readonly vendor: string;
  readonly trigger: string;
  readonly startTime: string | null;
  readonly stored: {
    readonly status: string | null;
    readonly endTime: string | null;
    readonly revision: number | null;
    /** When the row was last written, by a refresh or by the host. */
    readonly updateTime: string | null;
  };
  /** What `rollup.sql` derives from its tasks; null when it knows none of their statuses. */
  readonly computed: { readonly status: string; readonly endTime: string | null } | null;
  /** Whether the stored status is set by hand, as {@link readSetByHand} defines it. */
  readonly setByHand: boolean;
  /**
   * Its tasks by status, most frequent first; `known` says whether `rollup.sql` knows the status.
   */
  readonly tasks: readonly {
    readonly status: string;
    readonly count: number;
    readonly known: boolean;
  }[];
  readonly outbox: OutboxOfExecution;
  /** Its record in `tally.failure`; null once a refresh has succeeded since. */
  readonly failure: RecordedFailure | null;
}

/** A failure as recorded in Postgres; Redis may have lost its job. */
interface RecordedFailure {
  /** The job that failed last. */
  readonly jobId: string;
  readonly firstFailedAt: string;
  readonly failedAt: string;
  /** Jobs that failed for good since the last successful refresh. */
  readonly times: number;
  /** Null in records that an older version wrote. */
  readonly attempts: number | null;
  readonly error: string | null;
  readonly sqlState: string | null;
}

/** The outbox rows of one execution: refreshes requested and not yet done. */
interface OutboxOfExecution {
  readonly rows: number;
  readonly unsent: number;
  readonly oldest: string | null;
  /** When the first of them may be sent. */
  readonly due: string | null;
  readonly sources: readonly string[];
}

/**
 * Reads one execution with five statements, each served by an index.
 * @returns undefined when there is no such execution
 * @throws an error from `pg`
 */
export async function readExecutionFacts(
  database: Database,
  executionId: number,
): Promise<ExecutionFacts | undefined> {
  const [rows, tasks, outbox, failure, setByHand] = await Promise.all([
    database.query<ExecutionRow>(
      `SELECT e.vendor_type, e.trigger, to_char(e.start_time, ${ISO}) AS start_time,
              e.status, to_char(e.end_time, ${ISO}) AS end_time, e.revision,
              to_char(e.update_time, ${ISO}) AS update_time,
              r.status AS computed_status, to_char(r.end_time, ${ISO}) AS computed_end_time
         FROM execution e LEFT JOIN (${readSql('rollup')}) r ON r.execution_id = e.id
        WHERE e.id = ANY ($1::bigint[])`,
      [[executionId]],
    ),
    database.query<{ status: string; count: number }>(
      `SELECT status, count(*) AS count FROM task WHERE execution_id = $1::bigint
        GROUP BY status ORDER BY count(*) DESC, status`,
      [executionId],
    ),
    database.query<OutboxOfExecution & Record<string, unknown>>(
      `SELECT count(*) AS rows, count(*) FILTER (WHERE sent_at IS NULL) AS unsent,
              to_char(min(created_at) AT TIME ZONE 'UTC', ${ISO}) AS oldest,
              to_char(min(due_at) AT TIME ZONE 'UTC', ${ISO}) AS due,
              coalesce(array_agg(DISTINCT source), '{}') AS sources
         FROM tally.outbox WHERE execution_id = $1::bigint`,
      [executionId],
    ),
    readFailureRecord(database, executionId),
    readSetByHand(database, [executionId]),
  ]);
  const row = rows[0];
  if (row === undefined) return undefined;
  return {
    executionId,
    vendor: row.vendor_type,
    trigger: row.trigger,
    startTime: row.start_time,
    stored: {
      status: row.status,
      endTime: row.end_time,
      revision: row.revision,
      updateTime: row.update_time,
    },
    computed:
      row.computed_status === null
        ? null
        : { status: row.computed_status, endTime: row.computed_end_time },
    setByHand: setByHand.has(executionId),
    tasks: tasks.map((task) => ({ ...task, known: KNOWN_STATUSES.includes(task.status) })),
    outbox: outbox[0] ?? { rows: 0, unsent: 0, oldest: null, due: null, sources: [] },
    failure:
      failure === undefined
        ? null
        : {
            jobId: failure.jobId,
            firstFailedAt: new Date(failure.firstFailedAtMs).toISOString(),
            failedAt: new Date(failure.failedAtMs).toISOString(),
            times: failure.times,
            attempts: failure.attempts,
            error: failure.error,
            sqlState: failure.sqlState,
          },
  };
}

interface ExecutionRow extends Record<string, unknown> {
  readonly vendor_type: string;
  readonly trigger: string;
  readonly start_time: string | null;
  readonly status: string | null;
  readonly end_time: string | null;
  readonly revision: number | null;
  readonly update_time: string | null;
  readonly computed_status: string | null;
  readonly computed_end_time: string | null;
}
