import type { Identity } from '../execution.ts';
import type { Database } from './database.ts';
import { COUNTED_ROWS, summarizeOutbox, type RefreshSource } from './outbox.ts';

// A sudden backlog is younger than the statistics, by which the planner might read and sort all of it.
const IN_ORDER = { enable_bitmapscan: 'off', enable_seqscan: 'off' };

/** What one statement of the backlog lane did with executions that have a vendor, an outcome and a source in common. */
export interface BacklogGroup {
  readonly vendor: string;
  readonly outcome: 'changed' | 'unchanged' | 'no_tasks' | 'missing' | 'busy';
  /** Null where another refresh has deleted the rows meanwhile; `lagsMs` holds nulls then. */
  readonly source: RefreshSource | null;
  readonly executionIds: readonly number[];
  /** Age of the oldest outbox row of each, in milliseconds. */
  readonly lagsMs: readonly (number | null)[];
}

/** One look at the backlog; `lastS` is undefined when there was nothing to do. */
export interface BacklogBatch {
  readonly groups: readonly BacklogGroup[];
  readonly lastS: number | undefined;
  readonly more: boolean;
}

/**
 * Refreshes the executions of the oldest unsent outbox rows in one statement: all of them or, when it throws, none.
 * Executions that another transaction holds are `busy`, and their rows stay.
 * @param limit rows to take
 * @param olderMs only rows that have been due for so long
 * @param fromS only rows that have been due since then, in seconds since 1970
 */
export async function refreshBacklog(
  database: Database,
  limit: number,
  olderMs: number,
  fromS: number | undefined,
): Promise<BacklogBatch> {
  // As numbers of JavaScript, which an array of bigint doesn't become.
  const rows = await database.query<BacklogGroup & { lastS: number; [column: string]: unknown }>(
    `SELECT vendor, outcome, source, execution_ids::double precision[] AS "executionIds", lags_ms AS "lagsMs",
            extract(epoch FROM last_due)::double precision AS "lastS"
       FROM tally.refresh_backlog($1, $2, to_timestamp($3))`,
    [limit, olderMs, fromS ?? '-infinity'],
  );
  return { groups: rows, lastS: rows[0]?.lastS, more: rows.length > 0 };
}

/** The oldest row of the backlog, by which a relay tells whether the backlog lane makes progress. */
export interface BacklogHead {
  readonly rowId: number;
  readonly dueS: number;
}

/**
 * The oldest unsent row that has been due for `olderMs` milliseconds; undefined: there is no backlog. Reads one entry
 * of an index, and those of rows that are done and not yet cleaned up.
 */
export async function readBacklogHead(
  database: Database,
  olderMs: number,
  fromS: number | undefined,
): Promise<BacklogHead | undefined> {
  const [head] = await database.query<BacklogHead & { [column: string]: unknown }>(
    `SELECT id AS "rowId", extract(epoch FROM due_at)::double precision AS "dueS"
       FROM tally.outbox
      WHERE sent_at IS NULL AND due_at >= to_timestamp($2)
        AND due_at <= now() - $1 * interval '1 millisecond'
      ORDER BY sent_at, due_at LIMIT 1`,
    [olderMs, fromS ?? '-infinity'],
    IN_ORDER,
  );
  return head;
}

/**
 * How many unsent rows have been due for `olderMs` milliseconds; above 100,000 an estimate, so that asking costs the
 * same however many there are.
 */
export async function countBacklog(database: Database, olderMs: number): Promise<number> {
  const [counted] = await database.query<{ count: number }>(
    `SELECT count(*) AS count
       FROM (SELECT FROM tally.outbox
              WHERE sent_at IS NULL AND due_at <= now() - $1 * interval '1 millisecond'
              ORDER BY sent_at, due_at LIMIT ${COUNTED_ROWS + 1}) AS oldest`,
    [olderMs],
    IN_ORDER,
  );
  const count = counted?.count ?? 0;
  return count <= COUNTED_ROWS ? count : (await summarizeOutbox(database)).unsent;
}

/** Rows that somebody has marked as sent and is about to send. */
export interface ClaimedExecutions {
  /** One for each execution. */
  readonly identities: readonly Identity[];
  readonly rowIds: readonly number[];
}

/** Marks the due rows of these executions as sent, for somebody who is about to send them. */
export async function claimExecutions(
  database: Database,
  executionIds: readonly number[],
): Promise<ClaimedExecutions> {
  const rows = await database.query<Identity & { rowIds: number[]; [column: string]: unknown }>(
    `WITH claimed AS (
       UPDATE tally.outbox SET sent_at = clock_timestamp()
        WHERE id = ANY (ARRAY(
              SELECT id FROM tally.outbox
               WHERE execution_id = ANY ($1) AND sent_at IS NULL AND due_at <= now()
                 FOR UPDATE SKIP LOCKED))
       RETURNING id, execution_id, vendor)
     SELECT execution_id AS "executionId", min(vendor) AS vendor, array_agg(id)::double precision[] AS "rowIds"
       FROM claimed GROUP BY execution_id`,
    [executionIds],
  );
  return {
    identities: rows.map(({ executionId, vendor }) => ({ executionId, vendor })),
    rowIds: rows.flatMap(({ rowIds }) => rowIds),
  };
}

/** The executions of the oldest rows of the backlog. Parameters as of {@link refreshBacklog}. */
export async function oldestExecutions(
  database: Database,
  limit: number,
  olderMs: number,
  fromS: number | undefined,
): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    `SELECT DISTINCT execution_id AS id
       FROM (SELECT execution_id FROM tally.outbox
              WHERE sent_at IS NULL AND due_at >= to_timestamp($3)
                AND due_at <= now() - $2 * interval '1 millisecond'
              ORDER BY sent_at, due_at LIMIT $1) AS oldest`,
    [limit, olderMs, fromS ?? '-infinity'],
    IN_ORDER,
  );
  return rows.map(({ id }) => id);
}
