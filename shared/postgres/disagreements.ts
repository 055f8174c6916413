import type { Database } from './database.ts';
import { ORDERED_BY_INDEX } from './pinned.ts';
import { readSql } from './schema.ts';

/** An execution that is stuck behind its tasks and has no refresh on its way. */
export interface Disagreement {
  readonly executionId: number;
  readonly vendor: string;
  readonly stored: string | null;
  readonly computed: string;
  /** When its last task ended; ISO 8601, UTC. */
  readonly since: string | null;
}

/** The disagreements among a page of executions. */
export interface DisagreementPage {
  readonly disagreements: readonly Disagreement[];
  /** Where the next page starts; undefined after the last page. */
  readonly last: number | undefined;
}

/** A page whose disagreements are recorded. */
export interface RecordedPage extends DisagreementPage {
  /** Milliseconds that Postgres worked on it: without the commit, and the way there and back. */
  readonly workMs: number;
}

// Without statistics, the planner would read all tasks for a few executions.
const BY_INDEX = { enable_seqscan: 'off' };

const FINAL = `('Success', 'Error', 'Stopped')`;
// Nearly every execution fails this test, and needs no rollup.
const MAY_BE_STUCK = `(e.status IS NULL OR e.status NOT IN ${FINAL} OR e.end_time IS NULL)`;
// A final status that its tasks contradict isn't stuck: a person or the host set it by hand.
const STUCK = `r.status IN ${FINAL}
  AND (e.status IS NULL OR e.status NOT IN ${FINAL}
       OR (e.status = r.status AND e.end_time IS NULL AND r.end_time IS NOT NULL))`;
const NOT_ON_ITS_WAY = `NOT EXISTS (SELECT FROM tally.outbox o WHERE o.execution_id = e.id)
  AND NOT EXISTS (SELECT FROM tally.failure f WHERE f.execution_id = e.id AND NOT f.refreshed)`;
const OUT_OF_DATE = `(e.status, e.end_time) IS DISTINCT FROM (r.status, r.end_time)`;
const COLUMNS = `e.id::bigint AS "executionId", e.vendor_type AS vendor, e.status AS stored, r.status AS computed,
  to_char(r.end_time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since`;

/**
 * Finds the disagreements among the next executions, in key order, with short statements that only
 * read. Works on a database without schema `tally`, where no refresh counts as being on its way.
 * @param after the `last` of the previous page; 0 for the first
 * @param limit executions to examine
 * @throws an error from `pg`
 */
export async function readDisagreements(
  database: Database,
  after: number,
  limit: number,
): Promise<DisagreementPage> {
  const { ids, last } = await nextExecutions(database, after, limit, MAY_BE_STUCK);
  if (ids.length === 0) return { disagreements: [], last };
  const disagreements = await database.query<Disagreement & Record<string, unknown>>(
    `SELECT ${COLUMNS} FROM execution e JOIN (${readSql('rollup')}) r ON r.execution_id = e.id
      WHERE e.id = ANY ($1) AND ${STUCK} ${(await knowsRefreshes(database)) ? `AND ${NOT_ON_ITS_WAY}` : ''}
      ORDER BY e.id`,
    [ids],
    BY_INDEX,
  );
  return { disagreements, last };
}

/**
 * Like {@link readDisagreements}, and records a refresh for each disagreement. All of it is one
 * statement, so that two processes that examine the same page don't both record one. It also drops
 * notes on statuses the host stored for executions of the page that are gone or were refreshed
 * since.
 * @throws an error from `pg`
 */
export async function recordDisagreements(
  database: Database,
  after: number,
  limit: number,
): Promise<RecordedPage> {
  const rows = await database.query<Disagreement & { last: number | null; workMs: number }>(
    `WITH page AS MATERIALIZED (
       SELECT e.id, ${MAY_BE_STUCK} AS may_be_stuck FROM execution e
        WHERE e.id > $1 AND e.id <= ${Number.MAX_SAFE_INTEGER} ORDER BY e.id LIMIT $2
     ), found AS MATERIALIZED (
       SELECT ${COLUMNS}
         FROM tally.rollup(ARRAY(SELECT p.id::bigint FROM page p WHERE p.may_be_stuck)) r
         JOIN execution e ON e.id = r.execution_id
        WHERE ${STUCK} AND ${NOT_ON_ITS_WAY}
     ), recorded AS (
       INSERT INTO tally.outbox (execution_id, vendor, source, only_finishes)
       SELECT "executionId", tally.outbox_vendor(vendor), 'reconciler', true FROM found
     ), void AS MATERIALIZED (
       SELECT w.execution_id, w.outbox_id FROM tally.host_word w
        WHERE w.execution_id > $1 AND w.execution_id <= (SELECT max(p.id) FROM page p)
          AND NOT EXISTS (SELECT FROM execution e
                           WHERE e.id = w.execution_id AND e.revision IS NOT DISTINCT FROM w.revision)
        ORDER BY w.execution_id LIMIT $2 FOR UPDATE OF w SKIP LOCKED
     ), dropped AS (
       DELETE FROM tally.host_word w USING void v
        WHERE w.execution_id = v.execution_id AND w.outbox_id = v.outbox_id
     ), pass AS (
       UPDATE tally.reconciler
          SET active_at = clock_timestamp(), found_total = found_total + (SELECT count(*) FROM found)
     )
     SELECT page.last, found.*,
            extract(epoch FROM clock_timestamp() - statement_timestamp())::double precision * 1000 AS "workMs"
       FROM (SELECT max(id)::bigint AS last FROM page) page LEFT JOIN found ON true
      ORDER BY "executionId"`,
    [after, limit],
    ORDERED_BY_INDEX,
  );
  return {
    // A page without disagreements has one row, for its last id.
    disagreements: rows
      .filter(({ executionId }) => (executionId as number | null) !== null)
      .map(({ executionId, vendor, stored, computed, since }) => ({
        executionId,
        vendor,
        stored,
        computed,
        since,
      })),
    last: rows[0]?.last ?? undefined,
    workMs: rows[0]?.workMs ?? 0,
  };
}

/**
 * Counts executions whose stored status differs from their tasks, page by page, so that no
 * statement is long.
 * @param which `stuck`: disagreements; `outOfDate`: every difference, including those that are
 *   about to be refreshed or that a person made
 * @throws an error from `pg`
 */
export async function countDisagreements(
  database: Database,
  which: 'stuck' | 'outOfDate',
): Promise<number> {
  const limit = 2_000;
  let total = 0;
  for (let after: number | undefined = 0; after !== undefined;) {
    if (which === 'stuck') {
      const page: DisagreementPage = await readDisagreements(database, after, limit);
      total += page.disagreements.length;
      after = page.last;
    } else {
      const page: Awaited<ReturnType<typeof nextExecutions>> = await nextExecutions(
        database,
        after,
        limit,
        'true',
      );
      const [differing] = await database.query<{ count: number }>(
        `SELECT count(*) AS count FROM execution e JOIN (${readSql('rollup')}) r ON r.execution_id = e.id
          WHERE e.id = ANY ($1) AND ${OUT_OF_DATE}`,
        [page.ids],
      );
      total += differing?.count ?? 0;
      after = page.last;
    }
  }
  return total;
}

async function nextExecutions(
  database: Database,
  after: number,
  limit: number,
  condition: string,
): Promise<{ ids: number[]; last: number | undefined }> {
  const rows = await database.query<{ id: number; wanted: boolean }>(
    `SELECT e.id::bigint AS id, ${condition} AS wanted FROM execution e
      WHERE e.id > $1::bigint AND e.id <= ${Number.MAX_SAFE_INTEGER} ORDER BY e.id LIMIT $2`,
    [after, limit],
    ORDERED_BY_INDEX,
  );
  return { ids: rows.filter(({ wanted }) => wanted).map(({ id }) => id), last: rows.at(-1)?.id };
}

// A role that may only read the host's tables has no access to the schema, even if it exists.
async function knowsRefreshes(database: Database): Promise<boolean> {
  const [known] = await database.query<{ known: boolean }>(
    `SELECT coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')), false)
              AND count(*) = 2 AS known
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'tally' AND c.relname IN ('outbox', 'failure')`,
  );
  return known?.known === true;
}
