import { DatabaseError } from 'pg';
import { describeError } from '../errors.ts';

/**
 * What an error of a statement is about.
 *
 * - `execution`: what the statement was about (a constraint, a trigger). A refresh loses an
 *   attempt.
 * - `contention`: a deadlock or a serialization failure; retrying at once usually helps.
 * - `connection`: the connection was lost. Only a probe can tell whether the server is unavailable
 *   or the statement terminates its own backend.
 * - `timeout`: the server gave up waiting for a row that somebody holds, or for a table that is
 *   locked for everybody. Again only a probe can tell.
 * - `unavailable`: the server can't serve anyone now (starting, read-only, full, not migrated,
 *   missing rights). The request isn't to blame.
 */
export type ErrorKind = 'execution' | 'contention' | 'connection' | 'timeout' | 'unavailable';

/** No connection could be made. The statement was never sent, so nothing in it is to blame. */
export class NotConnectedError extends Error {
  constructor(cause: unknown) {
    super(describeError(cause), { cause });
    this.name = 'NotConnectedError';
  }
}

const CONTENTION = new Set(['40001', '40P01']);
const TIMEOUT = new Set([
  '57014', // query_canceled: statement_timeout, or somebody's pg_cancel_backend
  '55P03', // lock_not_available: lock_timeout
  '25P04', // transaction_timeout
]);
const UNAVAILABLE = new Set([
  '57P03', // cannot_connect_now: starting or shutting down
  '25006', // read_only_sql_transaction: a standby, a server that was demoted, default_transaction_read_only
  '42501', // insufficient_privilege
  '3D000', // invalid_catalog_name: no such database
  '3F000', // invalid_schema_name: not migrated
  '42883', // undefined_function: not migrated
  '42P01', // undefined_table: not migrated
  '42703', // undefined_column: not migrated
]);
// insufficient resources, system error, invalid authorization; operator intervention is below
const UNAVAILABLE_CLASSES = new Set(['53', '58', '28']);
// admin_shutdown, crash_shutdown, database_dropped, idle_session_timeout,
// idle_in_transaction_session_timeout
const LOST = new Set(['57P01', '57P02', '57P04', '57P05', '25P03']);

/**
 * Classifies whatever a statement threw. Source of the codes: appendix A of the Postgres manual.
 */
export function classifyError(error: unknown): ErrorKind {
  if (error instanceof NotConnectedError) return 'unavailable';
  const state = error instanceof DatabaseError ? error.code : undefined;
  // Whatever isn't an answer from the server comes from the connection: a reset, a timeout.
  if (state === undefined) return 'connection';
  if (CONTENTION.has(state)) return 'contention';
  if (TIMEOUT.has(state)) return 'timeout';
  if (LOST.has(state) || state.startsWith('08')) return 'connection';
  if (UNAVAILABLE.has(state) || UNAVAILABLE_CLASSES.has(state.slice(0, 2))) return 'unavailable';
  return 'execution';
}
