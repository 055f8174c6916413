import type { Database } from '../shared/postgres/database.ts';
import type { RefreshSource } from '../shared/postgres/outbox.ts';

/**
 * What `tally.refresh_executions` reports about one execution. `busy`: another transaction holds
 * its row.
 */
export interface RefreshReport {
  readonly executionId: number;
  readonly outcome: 'changed' | 'unchanged' | 'no_tasks' | 'missing' | 'busy';
  /**
   * Source and age, in milliseconds, of the oldest outbox row that this refresh deleted; null if it
   * deleted none.
   */
  readonly source: RefreshSource | null;
  readonly lagMs: number | null;
}

/**
 * Refreshes executions in one statement: all of them or, when it throws, none.
 * @param executionIds distinct
 * @param wait true: wait up to 10 s for executions that another transaction holds, instead of
 *   reporting them as busy
 * @throws an error from `pg`
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
