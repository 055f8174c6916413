import type { Database } from './database.ts';
import type { Identity } from '../execution.ts';

/** Who asked for a refresh. */
export type RefreshSource = 'capture' | 'api' | 'marker' | 'reconciler';

/**
 * Records that these executions are to be refreshed: the one door to the queue. When this resolves
 * the rows are committed, and no loss of Redis can undo it; the relay sends them on.
 * @param dueInMs milliseconds from now until the relay may send them
 */
export async function recordRefreshes(
  database: Database,
  identities: readonly Identity[],
  source: RefreshSource,
  dueInMs = 0,
): Promise<void> {
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
     SELECT id, vendor, $3, clock_timestamp() + $4 * interval '1 millisecond'
       FROM unnest($1::bigint[], $2::text[]) AS asked (id, vendor)`,
    [
      identities.map(({ executionId }) => executionId),
      identities.map(({ vendor }) => vendor),
      source,
      dueInMs,
    ],
  );
}

/** Lets the next refresh of the execution overwrite a final status that the host stored by hand, whatever asks for it. */
export async function forgetHostWord(database: Database, executionId: number): Promise<void> {
  await database.query('DELETE FROM tally.host_word WHERE execution_id = $1', [executionId]);
}

/** What the outbox holds: rows, how many of them are not yet sent, the age of the oldest in seconds. */
export interface OutboxSummary {
  readonly rows: number;
  readonly unsent: number;
  readonly oldestSeconds: number | null;
}

/** Counts the outbox. It reads every row, so ask for it every few seconds, not with every poll. */
export async function summarizeOutbox(database: Database): Promise<OutboxSummary> {
  const [summary] = await database.query<{ rows: number; unsent: number; oldest: number | null }>(
    `SELECT count(*) AS rows,
            count(*) FILTER (WHERE sent_at IS NULL) AS unsent,
            extract(epoch FROM clock_timestamp() - min(created_at))::double precision AS oldest
       FROM tally.outbox`,
  );
  return {
    rows: summary?.rows ?? 0,
    unsent: summary?.unsent ?? 0,
    oldestSeconds: summary?.oldest ?? null,
  };
}
