import type { Identity } from '../execution.ts';
import type { Database } from './database.ts';
import { ORDERED_BY_INDEX } from './pinned.ts';
import { COUNTED_ROWS, STATEMENT_ROWS, type OutboxSummary, type RefreshSource } from './outbox.ts';

/**
 * What one statement of the backlog lane did with the executions that share a vendor, an outcome
 * and a source.
 */
export interface BacklogGroup {
  readonly vendor: string;
  readonly outcome: 'changed' | 'unchanged' | 'no_tasks' | 'missing' | 'busy';
  /** Null if another refresh deleted the rows meanwhile; `lagsMs` then holds nulls. */
  readonly source: RefreshSource | null;
  /** One for each execution: the age of its oldest outbox row, in milliseconds. */
  readonly lagsMs: readonly (number | null)[];
  /**
   * Ids of the busy ones; empty for other outcomes, where collecting them costs time and nobody
   * needs them.
   */
  readonly busyIds: readonly number[];
}

/** What one statement found; `lastS` is undefined if it found nothing. */
export interface BacklogBatch {
  readonly groups: readonly BacklogGroup[];
  readonly lastS: number | undefined;
  readonly more: boolean;
}

/**
 * Refreshes the executions of the oldest unsent outbox rows in one statement: all of them or, if it
 * throws, none. Executions that another transaction holds are reported as `busy`, and their rows
 * stay.
 * @param limit rows to take
 * @param olderMs only rows that have been due for at least this many milliseconds
 * @param fromS only rows due at or after this time, in seconds since 1970; undefined: all
 * @throws an error from `pg`
 */
export async function refreshBacklog(
  database: Database,
  limit: number,
  olderMs: number,
  fromS: number | undefined,
): Promise<BacklogBatch> {
  // As JSON, which is read five times as fast as an array. The ids are cast to double precision,
  // since `pg` doesn't turn the elements of a bigint array into numbers.
  const rows = await database.query<BacklogGroup & { lastS: number; [column: string]: unknown }>(
    `SELECT vendor, outcome, source, to_json(lags_ms) AS "lagsMs",
            CASE WHEN outcome = 'busy' THEN execution_ids::double precision[] ELSE '{}' END AS "busyIds",
            extract(epoch FROM last_due)::double precision AS "lastS"
       FROM tally.refresh_backlog($1, $2, to_timestamp($3))`,
    [limit, olderMs, fromS ?? '-infinity'],
  );
  return { groups: rows, lastS: rows[0]?.lastS, more: rows.length > 0 };
}

/**
 * The oldest row of the backlog. A relay can tell from it whether the backlog lane makes progress.
 */
export interface BacklogHead {
  readonly rowId: number;
  readonly dueS: number;
}

/**
 * The oldest unsent row that has been due for `olderMs` milliseconds; undefined if there is no
 * backlog. Reads one index entry, and those of finished rows that aren't vacuumed yet.
 * @param fromS where to start, in seconds since 1970; undefined: at the first row
 * @throws an error from `pg`
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
    ORDERED_BY_INDEX,
  );
  return head;
}

/**
 * How many unsent rows have been due for `olderMs` milliseconds; above 100,000 an estimate, so that
 * the cost doesn't grow with the backlog.
 * @param outbox its summary, which callers need anyway: reading it twice takes longest of all
 * @throws an error from `pg`
 */
export async function countBacklog(
  database: Database,
  olderMs: number,
  outbox: OutboxSummary | Promise<OutboxSummary>,
): Promise<number> {
  const [counted] = await database.query<{ count: number }>(
    `SELECT count(*) AS count
       FROM (SELECT FROM tally.outbox
              WHERE sent_at IS NULL AND due_at <= now() - $1 * interval '1 millisecond'
              ORDER BY sent_at, due_at LIMIT ${COUNTED_ROWS + 1}) AS oldest`,
    [olderMs],
    ORDERED_BY_INDEX,
  );
  const count = counted?.count ?? 0;
  return count <= COUNTED_ROWS ? count : (await outbox).unsent;
}

/** Rows that the caller has claimed: marked as sent, and about to be sent. */
export interface ClaimedExecutions {
  /** One per execution. */
  readonly identities: readonly Identity[];
  readonly rowIds: readonly number[];
}

/**
 * Claims the due rows of these executions for the caller, who is about to send them: 20,000 at most,
 * of each execution an equal share. What is left stays in the backlog.
 * @throws an error from `pg`
 */
export async function claimExecutions(
  database: Database,
  executionIds: readonly number[],
): Promise<ClaimedExecutions> {
  // The conditions are such that the index of unsent rows can't serve them. By statistics that are
  // older than a sudden backlog, the planner would step through all of it for each execution.
  const rows = await database.query<Identity & { rowIds: number[]; [column: string]: unknown }>(
    `WITH claimed AS (
       UPDATE tally.outbox SET sent_at = clock_timestamp()
        WHERE id = ANY (ARRAY(
              SELECT own.id FROM unnest($1::bigint[]) AS asked (execution_id)
               CROSS JOIN LATERAL (
                     SELECT id FROM tally.outbox
                      WHERE execution_id = asked.execution_id
                        AND coalesce(sent_at, 'infinity') = 'infinity' AND due_at <= clock_timestamp()
                      LIMIT $2
                        FOR UPDATE SKIP LOCKED) own))
       RETURNING id, execution_id, vendor)
     SELECT execution_id AS "executionId", min(vendor) AS vendor, array_agg(id)::double precision[] AS "rowIds"
       FROM claimed GROUP BY execution_id`,
    [executionIds, Math.max(1, Math.floor(STATEMENT_ROWS / Math.max(1, executionIds.length)))],
    { enable_seqscan: 'off' },
  );
  return {
    identities: rows.map(({ executionId, vendor }) => ({ executionId, vendor })),
    rowIds: rows.flatMap(({ rowIds }) => rowIds),
  };
}

/**
 * The executions of the oldest rows of the backlog. Parameters as of {@link refreshBacklog}.
 * @throws an error from `pg`
 */
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
    ORDERED_BY_INDEX,
  );
  return rows.map(({ id }) => id);
}
