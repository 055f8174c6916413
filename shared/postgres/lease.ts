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
 * The right to do a duty alone: a row of `tally.lease`, so that it works through a pooler and survives a lost connection.
 * Its holder prolongs it for as long as its process runs; 10 s after that has ended or is frozen, another one may take
 * it. By the clock of the database alone.
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

  /** Whether it was taken and, as far as this process knows, not lost since. */
  get held(): boolean {
    return this.#renewal !== undefined;
  }

  /**
   * Takes the lease, or prolongs it; from then on it is prolonged until `release`.
   * @returns false: another one has it
   * @throws the error of `pg`
   */
  async take(): Promise<boolean> {
    if (!(await takeRow(this.#database, this.#duty, this.#holder, DURATION_MS))) {
      this.#stopRenewal();
      return false;
    }
    this.#renewal ??= setInterval(() => void this.#renew(), RENEW_MS).unref();
    return true;
  }

  /** Gives it back, so that another one need not wait; never throws. */
  async release(): Promise<void> {
    if (!this.held) return;
    this.#stopRenewal();
    await this.#database
      .query('DELETE FROM tally.lease WHERE duty = $1 AND holder = $2', [this.#duty, this.#holder])
      // Then it runs out.
      .catch(() => undefined);
  }

  /**
   * The database for what only the holder may do: each statement commits together with the lease, or not at all.
   * Closing it does nothing.
   * @throws TallyError LEASE_LOST from `query` when another one has it; then nothing has changed
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

  // A failure tells nothing that the next statement under the lease doesn't.
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
 * The turns that any number of processes take in a duty of which one pass an interval is enough. A turn is a lease that
 * is never given back: it runs out an interval after the last sign of its pass, and then it is anybody's.
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
   * @returns false: it isn't time yet, or another process has taken it
   * @throws the error of `pg`
   */
  take(): Promise<boolean> {
    this.#holder = randomUUID();
    return takeRow(this.#database, this.#duty, this.#holder, this.#intervalMs);
  }

  /** Says that the pass is under way, so that the interval counts from now. @throws the error of `pg` */
  async prolong(): Promise<void> {
    await this.#database.query(
      `UPDATE tally.lease SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
        WHERE duty = $1 AND holder = $2`,
      [this.#duty, this.#holder, this.#intervalMs],
    );
  }
}

/** Whether the lease is this holder's from now on. Whoever asks while another one has it only reads. */
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
