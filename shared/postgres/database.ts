import { Client, DatabaseError, Pool, types as pgTypes } from 'pg';
import type pg from 'pg';
import { TallyError } from '../errors.ts';
import type { Logger } from '../process/logger.ts';
import { cancelStatement } from './cancel.ts';
import { classifyError, NotConnectedError } from './error-kinds.ts';

/** Runs one statement and gives its rows. Every statement of Tally is autocommit, so there is no client to hold. */
export interface Database {
  /**
   * @param values one for each `$n`; arrays become Postgres arrays
   * @throws the error of `pg`, with its SQLSTATE in `code`, or NotConnectedError when the statement wasn't sent
   */
  query<Row extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Waits for what is in flight and closes every connection; never throws, may be called again. */
  close(): Promise<void>;
}

export interface DatabaseOptions {
  /** Connections at most. */
  readonly connections: number;
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** How long the server may work on a statement, in milliseconds. */
  readonly statementTimeoutMs?: number;
  /** How long to wait for a connection, in milliseconds. */
  readonly connectTimeoutMs?: number;
  /** A `SET …` that each connection begins with; for what a planner's estimate would get wrong. */
  readonly begin?: string;
}

// Rows speak of ids below 2^53, which is checked where they come in.
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pgTypes.builtins.INT8 ? Number : pgTypes.getTypeParser(oid, format),
};

/**
 * Opens a pool; nothing is connected before the first statement.
 *
 * A connection keeps what it began with: a session that is read-only by default, the address of a server that was the
 * primary. So after an error that may be such a state, no connection that is older than it is used again.
 */
export function openDatabase(url: string, log: Logger, options: DatabaseOptions): Database {
  const statementTimeoutMs = options.statementTimeoutMs ?? 30_000;
  const pool = new Pool({
    connectionString: url,
    max: options.connections,
    application_name: `tally ${options.name}`,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    statement_timeout: statementTimeoutMs,
    // A network that swallows packets would hold a statement for hours; the server's own timeout
    // comes first whenever the server still answers.
    query_timeout: Math.ceil(statementTimeoutMs * 1.15),
    types,
  });
  // Without a listener, an idle connection that the server ends would end the process.
  pool.on('error', (error) => log.debug({ err: error }, 'an idle Postgres connection was lost'));
  let generation = 0;
  const generations = new WeakMap<pg.PoolClient, number>();
  // The statement that runs on a lost connection rejects by itself.
  pool.on('connect', (client) => {
    generations.set(client, generation);
    client.on('error', () => undefined);
    // Queued before the statement that the connection was opened for. Without it that one is slower, not wrong.
    if (options.begin !== undefined) client.query(options.begin).catch(() => undefined);
  });
  let closing: Promise<void> | undefined;

  const connect = async (): Promise<pg.PoolClient> => {
    for (;;) {
      const client = await pool.connect().catch((error: unknown) => {
        throw new NotConnectedError(error);
      });
      if (generations.get(client) === generation) return client;
      client.release(true);
    }
  };

  const giveUp = (client: pg.PoolClient, error: unknown): void => {
    const kind = classifyError(error);
    const mayKeepItsState = kind === 'unavailable' || kind === 'connection';
    if (mayKeepItsState) generation++;
    if (!(error instanceof DatabaseError)) void cancelStatement(client);
    client.release(mayKeepItsState || !isStatementError(error));
  };

  return {
    async query<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) {
      const client = await connect();
      try {
        const result = await client.query<Row>(sql, [...values]);
        client.release();
        return result.rows;
      } catch (error) {
        giveUp(client, error);
        throw error;
      }
    },
    close() {
      closing ??= pool.end().catch((error: unknown) => {
        log.warn({ err: error }, 'closing the Postgres connections failed');
      });
      return closing;
    },
  };
}

function isStatementError(error: unknown): boolean {
  return error instanceof DatabaseError && error.severity === 'ERROR';
}

/**
 * Opens one connection, for what lives and dies with it: session-level advisory locks. When it is lost, or a
 * statement isn't answered in time, every later statement fails; open another one then. A server that the
 * network cuts off from us notices within half a minute, instead of keeping the locks for hours.
 * @throws the error of `pg` when Postgres can't be reached
 */
export async function openSession(url: string, name: string): Promise<Database> {
  const statementTimeoutMs = 10_000;
  const client = new Client({
    connectionString: url,
    application_name: `tally ${name}`,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    statement_timeout: statementTimeoutMs,
    query_timeout: Math.ceil(statementTimeoutMs * 1.15),
    types,
  });
  // The statement that is running rejects by itself, and those that come later do.
  client.on('error', () => undefined);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= client.end().catch(() => undefined));
  try {
    await client.connect();
    await client.query(
      'SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3',
    );
  } catch (error) {
    await close();
    throw error;
  }
  return {
    async query<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) {
      try {
        return (await client.query<Row>(sql, [...values])).rows;
      } catch (error) {
        // What the server did with an unanswered statement isn't known: it must not go on over this connection.
        if (!(error instanceof DatabaseError)) void cancelStatement(client);
        if (!isStatementError(error)) void close();
        throw error;
      }
    },
    close,
  };
}

/**
 * Opens one connection for a sequence of statements that belong together (migrations), and closes it.
 * @throws TallyError DATABASE_AWAY when Postgres can't be reached
 */
export async function withClient<T>(
  url: string,
  name: string,
  use: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new Client({
    connectionString: url,
    application_name: `tally ${name}`,
    connectionTimeoutMillis: 5_000,
    types,
  });
  // The statement that is running rejects by itself; this is for a connection that is lost in between.
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    throw databaseAway(client.host, client.port, error);
  }
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function databaseAway(host: string, port: number, cause: unknown): TallyError {
  const reason = cause instanceof DatabaseError ? cause.message : 'it does not answer';
  return new TallyError(
    'DATABASE_AWAY',
    `Postgres at ${host}:${port} can't be used (${reason}); check DATABASE_URL and that the server runs`,
    { cause },
  );
}
