import { DatabaseError, Pool } from 'pg';
import type pg from 'pg';
import type { Logger } from '../process/logger.ts';
import { cancelStatement } from './cancel.ts';
import { columnTypes, refuseReader, routesOf, unreachable, type Route } from './connection.ts';
import { classifyError, NotConnectedError } from './error-kinds.ts';
import { parseDatabaseUrl } from '../process/database-url.ts';

const POOL_IS_FULL = 'timeout exceeded when trying to connect';

interface PoolsOptions {
  /** Most connections at a time. */
  readonly connections: number;
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** Longest wait for a connection to one server, in milliseconds. */
  readonly connectTimeoutMs: number;
}

/**
 * Connections to one database: a pool for each route to it, of which the one is used that was
 * reached last, until it refuses new connections or no longer accepts writes.
 *
 * A connection keeps the state it started with, for example a session that is read-only by default,
 * or the address of a former primary. After an error that may come from such a state, no older
 * connection is used again.
 */
export class Pools {
  readonly #pools: readonly { readonly where: string; readonly pool: Pool }[];
  readonly #log: Logger;
  /** Which connections are young enough: those of the current generation. */
  readonly #generations = new WeakMap<pg.PoolClient, number>();
  #generation = 0;
  #current = 0;
  #closing: Promise<void> | undefined;

  /** @throws TallyError BAD_DATABASE_URL */
  constructor(url: string, log: Logger, options: PoolsOptions) {
    this.#log = log;
    const address = parseDatabaseUrl(url);
    this.#pools = routesOf(address, options.name).map(({ where, config }) => ({
      where,
      pool: this.#open(config, {
        max: options.connections,
        connectionTimeoutMillis: options.connectTimeoutMs,
        ...(address.mustAcceptWrites
          ? { verify: (client, done) => void verifyWriter(client, done) }
          : {}),
      }),
    }));
  }

  /**
   * Takes a connection; the caller releases it, or calls `giveUp`.
   * @throws NotConnectedError
   */
  async connect(): Promise<pg.PoolClient> {
    const failures: { where: string; error: unknown }[] = [];
    const first = this.#current;
    for (let n = 0; n < this.#pools.length; n++) {
      const index = (first + n) % this.#pools.length;
      const candidate = this.#pools[index];
      if (candidate === undefined) break;
      try {
        const client = await this.#connectYoung(candidate.pool);
        this.#current = index;
        return client;
      } catch (error) {
        // All connections are in use; another server wouldn't help.
        if (error instanceof Error && error.message === POOL_IS_FULL) {
          throw new NotConnectedError(error);
        }
        failures.push({ where: candidate.where, error });
      }
    }
    throw new NotConnectedError(unreachable(failures));
  }

  /** Takes back a connection on which a statement failed, and closes it if it may be the reason. */
  giveUp(client: pg.PoolClient, error: unknown): void {
    const kind = classifyError(error);
    const mayKeepItsState = kind === 'unavailable' || kind === 'connection';
    if (mayKeepItsState) this.renew();
    if (error instanceof DatabaseError) {
      client.release(mayKeepItsState || error.severity !== 'ERROR');
      return;
    }
    // Released only after the cancel request: a pooler forgets the statement with the connection
    // and couldn't cancel it.
    void cancelStatement(client).then(() => client.release(true));
  }

  /** Replaces every connection before its next use. */
  renew(): void {
    this.#generation++;
  }

  /** Waits for statements in flight and closes every connection. Never throws; can be repeated. */
  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#pools.map(({ pool }) => pool.end())).then(
      () => undefined,
      (error: unknown) => this.#log.warn({ err: error }, 'closing the Postgres connections failed'),
    );
    return this.#closing;
  }

  async #connectYoung(pool: Pool): Promise<pg.PoolClient> {
    for (;;) {
      const client = await pool.connect();
      if (this.#generations.get(client) === this.#generation) return client;
      client.release(true);
    }
  }

  #open(config: Route['config'], options: pg.PoolConfig): Pool {
    const pool = new Pool({
      ...config,
      ...options,
      idleTimeoutMillis: 30_000,
      keepAlive: true,
      pipeline: true,
      types: columnTypes,
    });
    // Without a listener, losing an idle connection would crash the process.
    pool.on('error', (error) =>
      this.#log.debug({ err: error }, 'an idle Postgres connection was lost'),
    );
    pool.on('connect', (client) => {
      this.#generations.set(client, this.#generation);
      // The statement on a lost connection rejects by itself.
      client.on('error', () => undefined);
    });
    return pool;
  }
}

async function verifyWriter(client: pg.PoolClient, done: (error?: Error) => void): Promise<void> {
  let problem: Error | undefined;
  try {
    await refuseReader(client);
  } catch (error) {
    problem = error instanceof Error ? error : new Error(String(error));
  }
  done(problem);
}
