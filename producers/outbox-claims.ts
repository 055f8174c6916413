import type { Database } from '../shared/database.ts';
import type { Identity } from '../shared/execution.ts';

/** An outbox row that this relay has marked as sent and is about to send. */
export interface ClaimedRow extends Identity {
  readonly rowId: number;
}

/**
 * Marks up to `limit` due rows as sent, oldest first, and gives them. Committed at once: no lock is
 * held while Redis is asked, so the refresh of a job that was just sent finds its rows free to
 * delete. Rows of a relay that dies before it has sent them are sent again later.
 */
export function claimDueRows(database: Database, limit: number): Promise<ClaimedRow[]> {
  return database.query<ClaimedRow & Record<string, unknown>>(
    `WITH due AS (
       SELECT id FROM tally.outbox
        WHERE sent_at IS NULL AND due_at <= now()
        ORDER BY due_at
        LIMIT $1
          FOR UPDATE SKIP LOCKED)
     UPDATE tally.outbox o SET sent_at = clock_timestamp()
       FROM due WHERE o.id = due.id
     RETURNING o.id AS "rowId", o.execution_id AS "executionId", o.vendor`,
    [limit],
  );
}

/** Takes claims back, to be sent after `waitMs` milliseconds each. */
export async function releaseRows(
  database: Database,
  rows: readonly { readonly rowId: number; readonly waitMs: number }[],
): Promise<void> {
  if (rows.length === 0) return;
  await database.query(
    `UPDATE tally.outbox o
        SET sent_at = NULL, due_at = clock_timestamp() + held.wait_ms * interval '1 millisecond'
       FROM unnest($1::bigint[], $2::double precision[]) AS held (id, wait_ms)
      WHERE o.id = held.id`,
    [rows.map(({ rowId }) => rowId), rows.map(({ waitMs }) => waitMs)],
  );
}

/**
 * Makes rows unsent that were sent more than `olderThanMs` milliseconds ago and are still there.
 * Sending again is harmless: where the job still waits, the queue drops the second one.
 * @returns how many
 */
export async function resendRows(database: Database, olderThanMs: number): Promise<number> {
  const [result] = await database.query<{ count: number }>(
    `WITH again AS (
       UPDATE tally.outbox SET sent_at = NULL
        WHERE sent_at <= now() - $1 * interval '1 millisecond'
       RETURNING id)
     SELECT count(*) AS count FROM again`,
    [olderThanMs],
  );
  return result?.count ?? 0;
}
