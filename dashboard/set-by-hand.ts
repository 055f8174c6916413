import type { Database } from '../shared/postgres/database.ts';
import { readSql } from '../shared/postgres/schema.ts';

// Without statistics, the planner would read all tasks for a few executions.
const BY_INDEX = { enable_seqscan: 'off' };

/**
 * Which of these executions are set by hand, and what the tasks of each say (null: nothing that the
 * rule knows). An execution is set by hand if the host's word stands: capture has recorded that a
 * person or the host stored its final status, no refresh has overruled it since, and it isn't what
 * the tasks say.
 * @throws an error from `pg`
 */
export async function readSetByHand(
  database: Database,
  executionIds: readonly number[],
): Promise<Map<number, string | null>> {
  if (executionIds.length === 0) return new Map();
  const rows = await database.query<{ id: number; computed: string | null }>(
    `SELECT w.execution_id AS id, r.status AS computed
       FROM tally.host_word w
       JOIN execution e ON e.id = w.execution_id AND e.revision IS NOT DISTINCT FROM w.revision
       LEFT JOIN (${readSql('rollup')}) r ON r.execution_id = w.execution_id
      WHERE w.execution_id = ANY ($1::bigint[]) AND e.id = ANY ($1::bigint[])
        AND e.status IN ('Success', 'Error', 'Stopped')
        AND (e.status, e.end_time) IS DISTINCT FROM (r.status, r.end_time)`,
    [executionIds],
    BY_INDEX,
  );
  return new Map(rows.map(({ id, computed }) => [id, computed]));
}
