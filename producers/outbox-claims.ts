import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Identity } from '../shared/execution.ts';

/** An outbox row that this relay has claimed: marked as sent, and about to be sent. */
export interface ClaimedRow extends Identity {
  readonly rowId: number;
  /** The span that asked for it, in W3C's form. */
  readonly traceparent: string | null;
  /** When it was due, in seconds since 1970; not of a row that is sent again. */
  readonly dueS?: number;
}

// A bitmap scan would read and sort every due row, on disk, for each claim. The planner chooses it
// when a backlog arrived so recently that the statistics show only a handful of rows.
const CLAIM_IN_ORDER = { enable_bitmapscan: 'off' };

/**
 * Claims due rows, in no particular order: the newest ones while the backlog lane takes the oldest,
 * else the oldest. A claim is committed at once, so no lock is held while Redis is asked, and a
 * refresh finds its rows free to delete as soon as its job is sent. Rows of a relay that dies
 * before it has sent them are sent again later.
 */
export class OutboxClaims {
  readonly #database: Database;
  readonly #cursor = new OutboxCursor();
  #lastClaimMs: number | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Claims up to `limit` rows.
   * @param freshMs only rows due for less than this, in milliseconds, not counting the time since
   *   the last claim: a change that came while this relay was held up mustn't wait behind a backlog
   *   for it. Undefined: rows of any age
   * @throws an error from `pg`
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
  // Newest first while the backlog lane takes the old ones: a change right behind a burst must not
  // wait until it is old itself, and then behind the whole burst.
  const order = freshMs === undefined ? 'ASC' : 'DESC';
  // sent_at is null in all of them. Sorting by it all the same lets the planner use the index,
  // whose first column it is. The ids go through an array because a join with this many rows may
  // read the whole outbox.
  return database.query(
    `UPDATE tally.outbox SET sent_at = clock_timestamp()
      WHERE id = ANY (ARRAY(
            SELECT id FROM tally.outbox
             WHERE sent_at IS NULL AND due_at <= now()
               AND due_at >= greatest(to_timestamp($2), now() - $3 * interval '1 millisecond')
             ORDER BY sent_at ${order}, due_at ${order}
             LIMIT $1
               FOR UPDATE SKIP LOCKED))
     RETURNING id AS "rowId", execution_id AS "executionId", vendor, traceparent,
               extract(epoch FROM due_at)::double precision AS "dueS"`,
    [limit, fromS ?? '-infinity', freshMs ?? null],
    CLAIM_IN_ORDER,
  );
}

/**
 * The database's clock, which `sent_at` is taken from, in seconds since 1970.
 * @throws an error from `pg`
 */
export async function databaseNowS(database: Database): Promise<number> {
  const [row] = await database.query<{ nowS: number }>(
    'SELECT extract(epoch FROM clock_timestamp())::double precision AS "nowS"',
  );
  if (row === undefined) throw new Error('the database did not tell the time');
  return row.nowS;
}

/**
 * Claims rows again that were sent within a span of time and are still there, in the order in which
 * they were sent. Resending is harmless: if the job still waits, the queue drops the second one.
 * @param fromS seconds since 1970 by the database's clock; undefined: from the first row
 * @param toS the same; rows claimed here get a later time
 * @returns the rows, and where the next page begins
 * @throws an error from `pg`
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
       RETURNING id, execution_id, vendor, traceparent
     )
     SELECT id AS "rowId", execution_id AS "executionId", vendor, traceparent,
            (SELECT extract(epoch FROM max(sent_at))::double precision FROM page) AS "lastS"
       FROM claimed`,
    // Rounded down: a double can't represent every microsecond.
    [limit, fromS === undefined ? '-infinity' : fromS - 0.000_01, toS],
  );
  return { rows, lastS: rows[0]?.lastS };
}
