import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Identity } from '../shared/execution.ts';

/** An outbox row that this relay has marked as sent and is about to send. */
export interface ClaimedRow extends Identity {
  readonly rowId: number;
}

// Until statistics have caught up with a backlog that came at once, the planner takes the due rows for a handful, and
// would read and sort all of them, on disk, for every claim.
const CLAIM_IN_ORDER = { enable_bitmapscan: 'off' };

/**
 * Marks due rows as sent and gives them, in no particular order: the newest, where the backlog lane takes the oldest,
 * else the oldest. Committed at once: no lock is
 * held while Redis is asked, so the refresh of a job that was just sent finds its rows free to delete. Rows
 * of a relay that dies before it has sent them are sent again later.
 */
export class OutboxClaims {
  readonly #database: Database;
  readonly #cursor = new OutboxCursor();
  #lastClaimMs: number | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * @param freshMs only rows that have been due for less than this, not counting the time since the last claim: whoever
   *   came while this one was held up must not wait behind a backlog for it. Undefined: of any age
   */
  async claim(limit: number, freshMs: number | undefined): Promise<readonly ClaimedRow[]> {
    const beginMs = performance.now();
    const heldUpMs = beginMs - (this.#lastClaimMs ?? beginMs);
    const { rows } = await this.#cursor.look(async (fromS) => {
      const claimed = await claimDueRows(
        this.#database,
        limit,
        fromS,
        freshMs === undefined ? undefined : freshMs + heldUpMs,
      );
      const lastS = claimed.length === 0 ? undefined : Math.max(...claimed.map(({ dueS }) => dueS));
      return { rows: claimed, lastS, more: claimed.length === limit };
    });
    this.#lastClaimMs = beginMs;
    return rows;
  }
}

function claimDueRows(
  database: Database,
  limit: number,
  fromS: number | undefined,
  freshMs: number | undefined,
): Promise<(ClaimedRow & { readonly dueS: number })[]> {
  // The newest first where somebody else sees to what is older: a change that comes behind a burst is not to wait until it
  // is old, too, and then behind all of it.
  const order = freshMs === undefined ? 'ASC' : 'DESC';
  // All have the same sent_at. It is named because the planner knows an index's order only from its first column on.
  // The ids go through an array, since a join with so many rows may read the whole outbox.
  return database.query(
    `UPDATE tally.outbox SET sent_at = clock_timestamp()
      WHERE id = ANY (ARRAY(
            SELECT id FROM tally.outbox
             WHERE sent_at IS NULL AND due_at <= now()
               AND due_at >= greatest(to_timestamp($2), now() - $3 * interval '1 millisecond')
             ORDER BY sent_at ${order}, due_at ${order}
             LIMIT $1
               FOR UPDATE SKIP LOCKED))
     RETURNING id AS "rowId", execution_id AS "executionId", vendor,
               extract(epoch FROM due_at)::double precision AS "dueS"`,
    [limit, fromS ?? '-infinity', freshMs ?? null],
    CLAIM_IN_ORDER,
  );
}

/** The database's clock, by which rows are marked as sent, in seconds since 1970. */
export async function databaseNowS(database: Database): Promise<number> {
  const [row] = await database.query<{ nowS: number }>(
    'SELECT extract(epoch FROM clock_timestamp())::double precision AS "nowS"',
  );
  if (row === undefined) throw new Error('the database did not tell the time');
  return row.nowS;
}

/**
 * Claims rows anew that were sent in a span of time and are still there, in the order in which they were sent. Sending
 * again is harmless: where the job still waits, the queue drops the second one.
 * @param fromS seconds since 1970 by the database's clock; undefined: from the very first
 * @param toS the same; what is claimed here is marked with a later time
 * @returns the rows, and where the next page begins
 */
export async function claimSentRows(
  database: Database,
  limit: number,
  fromS: number | undefined,
  toS: number,
): Promise<{ rows: ClaimedRow[]; lastS: number | undefined }> {
  const rows = await database.query<ClaimedRow & { lastS: number }>(
    `WITH page AS MATERIALIZED (
       SELECT id, sent_at FROM tally.outbox
        WHERE sent_at >= to_timestamp($2) AND sent_at <= to_timestamp($3)
        ORDER BY sent_at, due_at
        LIMIT $1
          FOR UPDATE SKIP LOCKED
     ), claimed AS (
       UPDATE tally.outbox SET sent_at = clock_timestamp()
        WHERE id = ANY (ARRAY(SELECT id FROM page))
       RETURNING id, execution_id, vendor
     )
     SELECT id AS "rowId", execution_id AS "executionId", vendor,
            (SELECT extract(epoch FROM max(sent_at))::double precision FROM page) AS "lastS"
       FROM claimed`,
    // A double can't hold every microsecond.
    [limit, fromS === undefined ? '-infinity' : fromS - 0.000_01, toS],
  );
  return { rows, lastS: rows[0]?.lastS };
}
