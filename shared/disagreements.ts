import type { Database } from './database.ts';
import { readSql } from './schema.ts';

const PAGE = 2_000;
const OUT_OF_DATE = `(e.status, e.end_time) IS DISTINCT FROM (r.status, r.end_time)`;
// Final to running, or one final status to another, is what a person or the host set by hand.
const STUCK = `r.status IN ('Success', 'Error', 'Stopped')
  AND (coalesce(e.status, '') NOT IN ('Success', 'Error', 'Stopped')
       OR (e.status = r.status AND e.end_time IS NULL AND r.end_time IS NOT NULL))
  AND NOT EXISTS (SELECT FROM tally.outbox o WHERE o.execution_id = e.id)`;

/**
 * Counts executions whose stored status is behind their tasks, page by page along the key, so that
 * no statement holds the database busy.
 * @param which `stuck`: final by its tasks but not as stored, with no refresh on its way;
 *   `outOfDate`: every difference, also one whose refresh is on its way or that a person made
 */
export async function countDisagreements(
  database: Database,
  which: 'stuck' | 'outOfDate',
): Promise<number> {
  let total = 0;
  for (let after = 0; ;) {
    const ids = await database.query<{ id: number }>(
      'SELECT id::bigint AS id FROM execution WHERE id > $1 ORDER BY id LIMIT $2',
      [after, PAGE],
    );
    const last = ids.at(-1)?.id;
    if (last === undefined) return total;
    after = last;
    const [page] = await database.query<{ count: number }>(
      `SELECT count(*) AS count
         FROM execution e JOIN (${readSql('rollup')}) r ON r.execution_id = e.id
        WHERE e.id = ANY ($1) AND ${which === 'stuck' ? STUCK : OUT_OF_DATE}`,
      [ids.map(({ id }) => id)],
    );
    total += page?.count ?? 0;
  }
}
