import { Client } from 'pg';
import type pg from 'pg';
import type { Logger } from '../process/logger.ts';
import { columnTypes, refuseReader, routesOf, unreachable } from './connection.ts';
import { beginPinned, type Settings } from './pinned.ts';
import { pipeline, type Statement } from './pipeline.ts';
import { Pools } from './pools.ts';
import { parseDatabaseUrl } from '../process/database-url.ts';

/** Runs one statement over a pool or a single connection and returns its rows. */
export type Query = <Row extends pg.QueryResultRow>(
  sql: string,
  values?: readonly unknown[],
) => Promise<Row[]>;

/**
 * Runs statements, each call in a transaction of its own that pins everything the code assumes
 * ({@link beginPinned}). Nothing depends on a session or is left in one, so a pooler may sit in
 * between.
 */
export interface Database {
  /**
   * Runs one statement and returns its rows.
   * @param settings additional settings to pin for this statement
   * @throws an error from `pg`, with its SQLSTATE in `code`
   * @throws NotConnectedError if the statement wasn't sent
   */
  query<Row extends pg.QueryResultRow>(
    sql: string,
    values?: readonly unknown[],
    settings?: Settings,
  ): Promise<Row[]>;
  /** Waits for statements in flight and closes every connection. Never throws; can be repeated. */
  close(): Promise<void>;
}

/**
 * A database that also runs several statements in one transaction and can renew its connections.
 */
export interface TransactionDatabase extends Database {
  /**
   * Runs statements in order and in one round trip: either all take effect or none. Returns the
   * rows of each.
   * @throws as `query`
   */
  transaction(
    statements: readonly Statement[],
    settings?: Settings,
  ): Promise<pg.QueryResultRow[][]>;
  /**
   * Replaces every connection before its next use. What was read over an old one may come from a
   * setting, for example of the role, that has been corrected since.
   */
  renew(): void;
}

/** Options of a pool. */
export interface DatabaseOptions {
  /** Most connections at a time. */
  readonly connections: number;
  /** Shown in pg_stat_activity. */
  readonly name: string;
  /** Longest time that the server may work on a statement, in milliseconds; 30 s by default. */
  readonly statementTimeoutMs?: number;
  /** Longest wait for a connection, in milliseconds; 5 s by default. */
  readonly connectTimeoutMs?: number;
}

const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Opens a pool; it connects with the first statement. How it chooses among several servers, and
 * which connections it uses again: {@link Pools}.
 * @throws TallyError BAD_DATABASE_URL
 */
export function openDatabase(
  url: string,
  log: Logger,
  {
    connections,
    name,
    statementTimeoutMs = 30_000,
    connectTimeoutMs = CONNECT_TIMEOUT_MS,
  }: DatabaseOptions,
): TransactionDatabase {
  const pools = new Pools(url, log, { connections, name, connectTimeoutMs });
  // A network that swallows packets would hold a statement for hours. The server's own timeout
  // comes first, as long as the server answers at all.
  const answerTimeoutMs = Math.ceil(statementTimeoutMs * 1.15);
  const transaction: TransactionDatabase['transaction'] = async (statements, settings) => {
    const client = await pools.connect();
    try {
      const begin = beginPinned(statementTimeoutMs, settings);
      const rows = await pipeline(client, begin, statements, answerTimeoutMs);
      client.release();
      return rows;
    } catch (error) {
      pools.giveUp(client, error);
      throw error;
    }
  };
  return {
    transaction,
    async query<Row extends pg.QueryResultRow>(
      sql: string,
      values: readonly unknown[] = [],
      settings: Settings = {},
    ) {
      const [rows = []] = await transaction([{ sql, values }], settings);
      return rows as Row[];
    },
    renew: () => pools.renew(),
    close: () => pools.close(),
  };
}

/**
 * Opens one connection for transactions of several statements (migrations), and closes it
 * afterwards.
 * @param name shown in pg_stat_activity
 * @throws TallyError DATABASE_AWAY if Postgres can't be reached, BAD_DATABASE_URL
 */
export async function withClient<T>(
  url: string,
  name: string,
  use: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await connectClient(url, name, CONNECT_TIMEOUT_MS);
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Opens one connection. The caller must end it, whatever happens.
 * @param timeoutMs for each server of the URL
 * @param last index of the route to try first; set to the one that led to a connection
 * @throws TallyError DATABASE_AWAY if Postgres can't be reached, BAD_DATABASE_URL
 */
export async function connectClient(
  url: string,
  name: string,
  timeoutMs: number,
  last = { index: 0 },
): Promise<pg.Client> {
  const address = parseDatabaseUrl(url);
  const failures: { where: string; error: unknown }[] = [];
  const routes = [...routesOf(address, name).entries()];
  for (const [index, { where, config }] of [
    ...routes.slice(last.index),
    ...routes.slice(0, last.index),
  ]) {
    const client = new Client({
      ...config,
      connectionTimeoutMillis: timeoutMs,
      types: columnTypes,
    });
    // A running statement rejects by itself; this is for a connection that is lost in between.
    client.on('error', () => undefined);
    try {
      await client.connect();
      if (address.mustAcceptWrites) await refuseReader(client);
      last.index = index;
      return client;
    } catch (error) {
      failures.push({ where, error });
      await client.end().catch(() => undefined);
    }
  }
  throw unreachable(failures);
}

/** Wraps a connection as a `Query`; statements join whatever transaction it is in. */
export function queryOf(client: pg.Client): Query {
  return async <Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []) =>
    (await client.query<Row>(sql, [...values])).rows;
}
