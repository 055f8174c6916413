import { randomUUID } from 'node:crypto';
import { DatabaseError } from 'pg';
import type pg from 'pg';
import { TallyError } from '../errors.ts';
import type { Database, TransactionDatabase } from './database.ts';
import type { Statement } from './pipeline.ts';

const DURATION_MS = 10_000;
const RENEW_MS = DURATION_MS / 4;
const LOST = 'TL001';

/**
 * The exclusive right to a duty: a row of `tally.lease`, so it works through a pooler and outlives
 * a lost connection. The holder renews it while its process runs. Ten seconds after the process has
 * ended or frozen, another one may take it. Only the database's clock counts.
 */
export class Lease {
  readonly #database: TransactionDatabase;
  readonly #duty: string;
  readonly #holder = randomUUID();
  #renewal: NodeJS.Timeout | undefined;

  constructor(database: TransactionDatabase, duty: string) {
    this.#database = database;
    this.#duty = duty;
  }

  /** Whether this process holds the lease, as far as it knows. */
  get held(): boolean {
    return this.#renewal !== undefined;
  }

  /**
   * Takes or renews the lease, and keeps renewing it until `release`.
   * @returns false if another process holds it
   * @throws an error from `pg`
   */
  async take(): Promise<boolean> {
    if (!(await takeRow(this.#database, this.#duty, this.#holder, DURATION_MS))) {
      this.#stopRenewal();
      return false;
    }
    this.#renewal ??= setInterval(() => void this.#renew(), RENEW_MS).unref();
    return true;
  }

  /** Gives the lease back, so that nobody has to wait for it to expire. Never throws. */
  async release(): Promise<void> {
    if (!this.held) return;
    this.#stopRenewal();
    await this.#database
      .query('DELETE FROM tally.lease WHERE duty = $1 AND holder = $2', [this.#duty, this.#holder])
      // Otherwise it expires.
      .catch(() => undefined);
  }

  /**
   * A database for what only the holder may do: each statement commits only while this process
   * holds the lease. Closing it does nothing.
   * @throws TallyError LEASE_LOST from `query` if another process holds it; then nothing has
   *   changed
   */
  guard(): Database {
    const check = this.#check();
    return {
      query: async <Row extends pg.QueryResultRow>(
        sql: string,
        values: readonly unknown[] = [],
        settings = {},
      ) => {
        try {
          const [rows = []] = await this.#database.transaction([{ sql, values }, check], settings);
          return rows as Row[];
        } catch (error) {
          if (!(error instanceof DatabaseError && error.code === LOST)) throw error;
          this.#stopRenewal();
          throw new TallyError('LEASE_LOST', error.message, { cause: error });
        }
      },
      close: () => Promise.resolve(),
    };
  }

  #check(): Statement {
    return {
      sql: 'SELECT tally.hold_lease($1, $2, $3)',
      values: [this.#duty, this.#holder, DURATION_MS],
    };
  }

  // The next statement under the lease reports the same problem.
  async #renew(): Promise<void> {
    await this.guard()
      .query('SELECT')
      .catch(() => undefined);
  }

  #stopRenewal(): void {
    clearInterval(this.#renewal);
    this.#renewal = undefined;
  }
}

/**
 * Turns at a duty that needs one pass per interval, shared by any number of processes. A turn is a
 * lease that is never given back: it expires one interval after the last sign of its pass, and then
 * anybody may take the next.
 */
export class Turns {
  readonly #database: Database;
  readonly #duty: string;
  readonly #intervalMs: number;
  #holder = '';

  constructor(database: Database, duty: string, intervalMs: number) {
    this.#database = database;
    this.#duty = duty;
    this.#intervalMs = intervalMs;
  }

  /**
   * Takes the next turn.
   * @returns false if it isn't due, or another process has taken it
   * @throws an error from `pg`
   */
  take(): Promise<boolean> {
    this.#holder = randomUUID();
    return takeRow(this.#database, this.#duty, this.#holder, this.#intervalMs);
  }

  /** Notes that the pass still runs; the interval counts from now. @throws an error from `pg` */
  async prolong(): Promise<void> {
    await this.#database.query(
      `UPDATE tally.lease SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
        WHERE duty = $1 AND holder = $2`,
      [this.#duty, this.#holder, this.#intervalMs],
    );
  }
}

/** Takes the lease unless another holder has it; then it only reads. */
async function takeRow(
  database: Database,
  duty: string,
  holder: string,
  durationMs: number,
): Promise<boolean> {
  const taken = await database.query(
    `INSERT INTO tally.lease AS l (duty, holder, expires_at)
     SELECT $1, $2, clock_timestamp() + $3 * interval '1 millisecond'
      WHERE NOT EXISTS (SELECT FROM tally.lease o
                         WHERE o.duty = $1 AND o.holder <> $2 AND o.expires_at >= clock_timestamp())
     ON CONFLICT (duty) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
      WHERE l.holder = EXCLUDED.holder OR l.expires_at < clock_timestamp()
     RETURNING 1`,
    [duty, holder, durationMs],
  );
  return taken.length > 0;
}
