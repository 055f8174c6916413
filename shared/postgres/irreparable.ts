import type { Database } from './database.ts';

/** An execution that isn't stored as final and that no refresh can finish, because of its tasks. */
export interface Irreparable {
  readonly executionId: number;
  readonly vendor: string;
  readonly stored: string | null;
  readonly reason: 'no tasks' | 'only unknown statuses' | 'unfinished tasks unchanged for a week';
}

/** The irreparable executions among a page of executions. */
export interface IrreparablePage {
  readonly irreparable: readonly Irreparable[];
  /** Where the next page starts; undefined after the last page. */
  readonly last: number | undefined;
}

/**
 * Finds what no refresh can repair among the next executions, in key order, with a short statement
 * that only reads `execution` and `task`. Age is taken from the tasks' own times, so a task that
 * really runs for a week is reported as well.
 * @param after the `last` of the previous page; 0 for the first
 * @param limit executions to examine
 * @throws an error from `pg`
 */
export async function readIrreparable(
  database: Database,
  after: number,
  limit: number,
): Promise<IrreparablePage> {
  const rows = await database.query<Irreparable & { last: number | null }>(
    `WITH page AS MATERIALIZED (
       SELECT e.id, e.vendor_type, e.status FROM execution e
        WHERE e.id > $1 AND e.id <= ${Number.MAX_SAFE_INTEGER} ORDER BY e.id LIMIT $2
     ), told AS (
       SELECT p.id, p.vendor_type, p.status,
              CASE WHEN t.tasks = 0 THEN 'no tasks'
                   WHEN t.known = 0 THEN 'only unknown statuses'
                   WHEN t.unfinished > 0 AND t.changed < timezone('UTC', now()) - interval '7 days'
                     THEN 'unfinished tasks unchanged for a week' END AS reason
         FROM page p
        CROSS JOIN LATERAL (
          SELECT count(*) AS tasks,
                 count(*) FILTER (WHERE status IN ('Pending', 'Scheduled', 'Running', 'Stopped', 'Error', 'Success')) AS known,
                 count(*) FILTER (WHERE status IN ('Pending', 'Scheduled', 'Running')) AS unfinished,
                 max(greatest(creation_time, start_time, update_time, end_time)) AS changed
            FROM task WHERE execution_id = p.id) t
        WHERE p.status IS NULL OR p.status NOT IN ('Success', 'Error', 'Stopped')
     )
     SELECT page.last, told.id::bigint AS "executionId", told.vendor_type AS vendor, told.status AS stored, told.reason
       FROM (SELECT max(id)::bigint AS last FROM page) page LEFT JOIN told ON told.reason IS NOT NULL
      ORDER BY told.id`,
    [after, limit],
  );
  return {
    // A page without any has one row, for its last id.
    irreparable: rows
      .filter(({ executionId }) => (executionId as number | null) !== null)
      .map(({ executionId, vendor, stored, reason }) => ({ executionId, vendor, stored, reason })),
    last: rows[0]?.last ?? undefined,
  };
}
