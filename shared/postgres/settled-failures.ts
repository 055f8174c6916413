import type { Database } from './database.ts';

/** What became of a page of standing failures. */
export interface SettledPage {
  /** Records that became obsolete. */
  readonly settled: number;
  /** Job id where the next page starts; undefined after the last page. */
  readonly next: string | undefined;
}

/**
 * Makes those of the next standing failures obsolete that a refresh has nothing left to do for: the
 * execution is stored as its tasks say, the host stored a final status that a refresh would keep,
 * none of its tasks has a status that the rule knows, or it was deleted.
 *
 * A record is compared in the snapshot in which its execution and tasks are read, so what it failed
 * to store is among them. One that is written again meanwhile, because its job failed again, has
 * another time and stays.
 * @param after job id; '' for the first page
 * @param limit most records to compare, whose tasks are all read
 * @throws an error from `pg`
 */
export async function settleFailures(
  database: Database,
  after: string,
  limit: number,
): Promise<SettledPage> {
  const [page] = await database.query<{ seen: number; last: string | null; settled: number }>(
    `WITH page AS MATERIALIZED (
       SELECT f.job_id, f.execution_id, f.failed_at FROM tally.failure f
        WHERE NOT f.refreshed AND NOT f.superseded AND f.job_id > $1
        ORDER BY f.job_id LIMIT $2
     ), stored AS MATERIALIZED (
       SELECT e.id::bigint AS id, e.status, e.end_time,
              e.status IN ('Success', 'Error', 'Stopped')
                AND EXISTS (SELECT FROM tally.host_word w
                             WHERE w.execution_id = e.id AND w.revision IS NOT DISTINCT FROM e.revision)
              AS is_hosts_word
         FROM execution e WHERE e.id = ANY (ARRAY(SELECT execution_id FROM page))
     ), settled AS MATERIALIZED (
       SELECT p.job_id, p.failed_at
         FROM page p
         LEFT JOIN stored s ON s.id = p.execution_id
         LEFT JOIN tally.rollup(ARRAY(SELECT execution_id FROM page)) r ON r.execution_id = p.execution_id
        WHERE s.id IS NULL OR r.execution_id IS NULL OR s.is_hosts_word
           OR (s.status, s.end_time) IS NOT DISTINCT FROM (r.status, r.end_time)
     ), updated AS (
       UPDATE tally.failure f SET refreshed = true FROM settled s
        WHERE f.job_id = s.job_id AND f.failed_at = s.failed_at AND NOT f.refreshed AND NOT f.superseded
       RETURNING 1
     )
     SELECT (SELECT count(*) FROM page) AS seen, (SELECT max(job_id) FROM page) AS last,
            (SELECT count(*) FROM updated) AS settled`,
    [after, limit],
  );
  const { seen = 0, last = null, settled = 0 } = page ?? {};
  return { settled, next: seen < limit ? undefined : (last ?? undefined) };
}
