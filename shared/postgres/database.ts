import { Client, DatabaseError, Pool, types as pgTypes } from 'pg';
import type pg from 'pg';
import type { Logger } from '../process/logger.ts';
import { cancelStatement } from './cancel.ts';
import { classifyError, NotConnectedError } from './error-kinds.ts';
import { routesOf, refuseReader, unreachable, type Route } from './connection.ts';
import { beginPinned, type Settings } from './pinned.ts';
import { pipeline, type Statement } from './pipeline.ts';
import { parseDatabaseUrl } from './url.ts';

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

// Ids are checked to be below 2^53 where they come in, so a bigint fits into a number.
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pgTypes.builtins.INT8 ? Number : pgTypes.getTypeParser(oid, format),
};

/**
 * Opens a pool; it connects with the first statement. If the URL names several servers, it stays
 * with the one that it reached last until that one refuses new connections or no longer accepts
 * writes.
 * A connection keeps the state it started with, for example a session that is read-only by default,
 * or the address of a former primary. After an error that may come from such a state, no older
 * connection is used again.
 * @param options.name shown in pg_stat_activity
 * @throws TallyError BAD_DATABASE_URL
 */
export function openDatabase(
  url: string,
  log: Logger,
  options: DatabaseOptions,
): TransactionDatabase {
  const statementTimeoutMs = options.statementTimeoutMs ?? 30_000;
  const address = parseDatabaseUrl(url);
  let generation = 0;
  const generations = new WeakMap<pg.PoolClient, number>();
  const onConnect = (client: pg.PoolClient): void => void generations.set(client, generation);
  const pools = routesOf(address, options.name).map(({ where, config }) => ({
    where,
    pool: openPool(config, log, onConnect, {
      max: options.connections,
      connectionTimeoutMillis: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      ...(address.mustAcceptWrites
        ? { verify: (client, done) => void verifyWriter(client, done) }
        : {}),
    }),
  }));
  let current = 0;
  let closing: Promise<void> | undefined;

  const connect = async (): Promise<pg.PoolClient> => {
    const failures: { where: string; error: unknown }[] = [];
    const first = current;
    for (let n = 0; n < pools.length; n++) {
      const index = (first + n) % pools.length;
      const candidate = pools[index];
      if (candidate === undefined) break;
      try {
        const client = await connectYoung(candidate.pool);
        current = index;
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
  };

  const connectYoung = async (pool: Pool): Promise<pg.PoolClient> => {
    for (;;) {
      const client = await pool.connect();
      if (generations.get(client) === generation) return client;
      client.release(true);
    }
  };

  const giveUp = (client: pg.PoolClient, error: unknown): void => {
    const kind = classifyError(error);
    const mayKeepItsState = kind === 'unavailable' || kind === 'connection';
    if (mayKeepItsState) generation++;
    if (error instanceof DatabaseError) {
      client.release(mayKeepItsState || !isStatementError(error));
      return;
    }
    // Released only after the cancel request: a pooler forgets the statement with the connection
    // and couldn't cancel it.
    void cancelStatement(client).then(() => client.release(true));
  };

  // A network that swallows packets would hold a statement for hours. The server's own timeout
  // comes first, as long as the server answers at all.
  const answerTimeoutMs = Math.ceil(statementTimeoutMs * 1.15);

  const transaction: TransactionDatabase['transaction'] = async (statements, settings) => {
    const client = await connect();
    try {
      const begin = beginPinned(statementTimeoutMs, settings);
      const rows = await pipeline(client, begin, statements, answerTimeoutMs);
      client.release();
      return rows;
    } catch (error) {
      giveUp(client, error);
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
    renew: () => void generation++,
    close() {
      closing ??= Promise.all(pools.map(({ pool }) => pool.end())).then(
        () => undefined,
        (error: unknown) => log.warn({ err: error }, 'closing the Postgres connections failed'),
      );
      return closing;
    },
  };
}

const POOL_IS_FULL = 'timeout exceeded when trying to connect';

function openPool(
  config: Route['config'],
  log: Logger,
  onConnect: (client: pg.PoolClient) => void,
  options: pg.PoolConfig,
): Pool {
  const pool = new Pool({
    ...config,
    ...options,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    pipeline: true,
    types,
  });
  // Without a listener, losing an idle connection would crash the process.
  pool.on('error', (error) => log.debug({ err: error }, 'an idle Postgres connection was lost'));
  // The statement on a lost connection rejects by itself.
  pool.on('connect', (client) => {
    onConnect(client);
    client.on('error', () => undefined);
  });
  return pool;
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

function isStatementError(error: unknown): boolean {
  return error instanceof DatabaseError && error.severity === 'ERROR';
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
 * @param last index of the server to try first; set to the one that answered
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
    const client = new Client({ ...config, connectionTimeoutMillis: timeoutMs, types });
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
