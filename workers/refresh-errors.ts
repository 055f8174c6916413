import { DatabaseError } from 'pg';

/**
 * What an error of a refresh is about.
 *
 * - `execution`: this execution (a constraint, a trigger, a timeout on its row). It costs an attempt.
 * - `contention`: a deadlock or a serialization failure; trying again at once usually helps.
 * - `connection`: the connection was lost. Whether the server is away or an execution ends its own
 *   backend, only a probe can tell.
 * - `world`: the server can't serve anyone now (starting, read-only, full, not migrated, no rights).
 *   No job is to blame.
 */
export type RefreshErrorKind = 'execution' | 'contention' | 'connection' | 'world';

const CONTENTION = new Set(['40001', '40P01']);
const WORLD = new Set([
  '57P03', // cannot_connect_now: starting or shutting down
  '25006', // read_only_sql_transaction: a standby, or one that was demoted
  '42501', // insufficient_privilege
  '3D000', // invalid_catalog_name: no such database
  '3F000', // invalid_schema_name: not migrated
  '42883', // undefined_function: not migrated
  '42P01', // undefined_table: not migrated
  '42703', // undefined_column: not migrated
]);
// insufficient resources, operator intervention is below, system error, invalid authorization
const WORLD_CLASSES = new Set(['53', '58', '28']);
// admin_shutdown, crash_shutdown, database_dropped, idle_session_timeout
const LOST = new Set(['57P01', '57P02', '57P04', '57P05']);

/** Sorts an error of `pg`. Source of the codes: appendix A of the Postgres manual. */
export function classifyRefreshError(error: unknown): RefreshErrorKind {
  const state = error instanceof DatabaseError ? error.code : undefined;
  // Everything that isn't an answer of the server comes from the connection: reset, refused, timed out.
  if (state === undefined) return 'connection';
  if (CONTENTION.has(state)) return 'contention';
  if (LOST.has(state) || state.startsWith('08')) return 'connection';
  if (WORLD.has(state) || WORLD_CLASSES.has(state.slice(0, 2))) return 'world';
  return 'execution';
}
