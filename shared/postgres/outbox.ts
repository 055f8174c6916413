import type { Database } from './database.ts';
import { ORDERED_BY_INDEX } from './pinned.ts';
import type { Identity } from '../execution.ts';

/**
 * Rows that one statement claims or deletes at most. An execution may have millions, and a statement
 * that can't finish in time is never done.
 */
export const STATEMENT_ROWS = 20_000;

/** Who requested a refresh. */
export type RefreshSource = 'capture' | 'api' | 'marker' | 'reconciler';

/**
 * Requests refreshes of these executions. This is the one door to the queue: when it resolves, the
 * rows are committed, no loss of Redis can undo that, and the relay sends them on.
 * @param dueInMs milliseconds until the relay may send them
 * @param traceparent the span that asks, in W3C's form, if it is traced
 * @throws an error from `pg`; then nothing is recorded, or the answer was lost, and repeating it is
 *   harmless
 */
export async function recordRefreshes(
  database: Database,
  identities: readonly Identity[],
  source: RefreshSource,
  dueInMs = 0,
  traceparent?: string,
): Promise<void> {
  const isTraced = traceparent !== undefined;
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, due_at${isTraced ? ', traceparent' : ''})
     SELECT id, vendor, $3, clock_timestamp() + $4 * interval '1 millisecond'${isTraced ? ', $5' : ''}
       FROM unnest($1::bigint[], $2::text[]) AS asked (id, vendor)`,
    [
      identities.map(({ executionId }) => executionId),
      identities.map(({ vendor }) => vendor),
      source,
      dueInMs,
      ...(isTraced ? [traceparent] : []),
    ],
  );
}

/**
 * Releases claimed rows: they are unsent again, each due in `waitMs` milliseconds.
 * @throws an error from `pg`
 */
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
 * Lets the next refresh of each execution, whoever requests it, overwrite a final status that the
 * host stored itself.
 * @throws an error from `pg`
 */
export async function forgetHostWords(
  database: Database,
  executionIds: readonly number[],
): Promise<void> {
  await database.query('DELETE FROM tally.host_word WHERE execution_id = ANY ($1::bigint[])', [
    executionIds,
  ]);
}

/** Most rows that are counted exactly; above that, figures are estimates. */
export const COUNTED_ROWS = 100_000;

/**
 * What the outbox holds: its rows, how many of them are unsent, and the age of the oldest in
 * seconds.
 */
export interface OutboxSummary {
  readonly rows: number;
  readonly unsent: number;
  readonly oldestSeconds: number | null;
  /** Set if `rows` and `unsent` are Postgres' estimates. */
  readonly estimated?: true;
}

/**
 * Counts the outbox; above 100,000 rows it estimates, so that the cost doesn't grow with the
 * backlog.
 * @throws an error from `pg`
 */
export async function summarizeOutbox(database: Database): Promise<OutboxSummary> {
  // Rows are created in the order of the key, so the oldest is among these.
  const [first] = await database.query<{ rows: number; unsent: number; oldest: number | null }>(
    `SELECT count(*) AS rows,
            count(*) FILTER (WHERE sent_at IS NULL) AS unsent,
            extract(epoch FROM clock_timestamp() - min(created_at))::double precision AS oldest
       FROM (SELECT sent_at, created_at FROM tally.outbox ORDER BY id LIMIT ${COUNTED_ROWS + 1}) AS first`,
  );
  const { rows, unsent, oldest } = first ?? { rows: 0, unsent: 0, oldest: null };
  if (rows <= COUNTED_ROWS) return { rows, unsent, oldestSeconds: oldest };
  const all = Math.max(rows, await estimateRows(database, 'true'));
  return {
    rows: all,
    unsent: Math.min(all, await countUnsent(database, all)),
    oldestSeconds: oldest,
    estimated: true,
  };
}

// Statistics may be older than the backlog, so whichever of the two kinds is small is counted.
async function countUnsent(database: Database, all: number): Promise<number> {
  const unsent = await countRows(database, 'sent_at IS NULL');
  if (unsent <= COUNTED_ROWS) return unsent;
  const sent = await countRows(database, 'sent_at IS NOT NULL');
  if (sent <= COUNTED_ROWS) return all - sent;
  return Math.max(unsent, await estimateRows(database, 'sent_at IS NULL'));
}

async function countRows(database: Database, condition: string): Promise<number> {
  const [counted] = await database.query<{ count: number }>(
    `SELECT count(*) AS count
       FROM (SELECT FROM tally.outbox WHERE ${condition} ORDER BY sent_at LIMIT ${COUNTED_ROWS + 1}) AS counted`,
    [],
    ORDERED_BY_INDEX,
  );
  return counted?.count ?? 0;
}

// The planner's estimate from the table's size and its last statistics; reads no rows.
async function estimateRows(database: Database, condition: string): Promise<number> {
  const [plan] = await database.query<{ 'QUERY PLAN': [{ Plan: { 'Plan Rows': number } }] }>(
    `EXPLAIN (FORMAT JSON) SELECT FROM tally.outbox WHERE ${condition}`,
  );
  return plan?.['QUERY PLAN'][0].Plan['Plan Rows'] ?? 0;
}
