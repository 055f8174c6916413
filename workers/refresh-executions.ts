import type { Database } from '../shared/postgres/database.ts';
import type { Identity } from '../shared/execution.ts';
import type { RefreshSource } from '../shared/postgres/outbox.ts';

/** What the SQL function reports of one execution. `busy`: another transaction holds its row. */
export interface RefreshReport {
  readonly executionId: number;
  readonly outcome: 'changed' | 'unchanged' | 'no_tasks' | 'missing' | 'busy';
  /** Source and age in milliseconds of the oldest outbox row that this refresh fulfilled, if any. */
  readonly source: RefreshSource | null;
  readonly lagMs: number | null;
}

/**
 * Refreshes executions in one statement: all of them or, when it throws, none.
 * @param executionIds distinct
 * @param wait true: wait up to 10 s for executions that another transaction holds, instead of
 *   reporting them busy
 */
export function refreshExecutions(
  database: Database,
  executionIds: readonly number[],
  wait: boolean,
): Promise<RefreshReport[]> {
  return database.query<RefreshReport>(
    `SELECT execution_id AS "executionId", outcome, source, lag_ms AS "lagMs"
       FROM tally.refresh_executions($1::bigint[], $2)`,
    [executionIds, wait],
  );
}

/**
 * Deletes the outbox rows of an execution that were sent before its last attempt began: the failed
 * job is the record of them now. A row that was sent later belongs to a job of its own. A status that the host had
 * stored by hand before one of those changes no longer stands against the job's retry.
 * @param attemptMs how long ago that attempt began, in milliseconds; the database's clock decides
 */
export async function forgetRecorded(
  database: Database,
  executionId: number,
  attemptMs: number,
): Promise<void> {
  await database.query(
    `WITH forgotten AS (
       DELETE FROM tally.outbox
        WHERE execution_id = $1 AND sent_at < clock_timestamp() - $2 * interval '1 millisecond'
       RETURNING id, execution_id, changed_in, only_finishes)
     DELETE FROM tally.host_word w USING forgotten f
      WHERE w.execution_id = f.execution_id
        AND tally.overrules(f.id, f.changed_in, f.only_finishes, w.outbox_id, w.stored_in, w.snapshot)`,
    [executionId, attemptMs],
  );
}

/**
 * Notes that a job is about to fail for good. Written before it does, so that there is no failed job
 * without its note; the next refresh of the execution marks the note.
 */
export async function noteFailure(
  database: Database,
  jobId: string,
  { executionId, vendor }: Identity,
): Promise<void> {
  await database.query(
    `INSERT INTO tally.failure (job_id, execution_id, vendor) VALUES ($1, $2, $3)
     ON CONFLICT (job_id) DO UPDATE SET failed_at = clock_timestamp(), refreshed = false`,
    [jobId, executionId, vendor],
  );
}
