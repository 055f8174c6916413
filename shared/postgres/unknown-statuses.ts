import type { Database } from './database.ts';
import { seesHost } from './host.ts';

/** The task statuses that the rule (`sql/rollup.sql`) knows; case matters. */
export const KNOWN_STATUSES = ['Pending', 'Scheduled', 'Running', 'Stopped', 'Error', 'Success'];

// Limits of the sample: executions, tasks of each, and tasks in all. Reading it takes tens of
// milliseconds, however large the tables are.
const EXECUTIONS = 1_000;
const TASKS_OF_EACH = 1_000;
const TASKS = 10_000;
const LOOK_MS = 1_000;
/** Groups returned. A host that starts to use new statuses uses few different ones. */
const GROUPS = 20;

/** Tasks with a status that the rule doesn't know. */
export interface UnknownStatus {
  readonly vendor: string;
  readonly status: string;
  readonly tasks: number;
  /** One of their executions. */
  readonly executionId: number;
}

/**
 * Finds statuses that the rule doesn't know, most frequent first, among 10,000 tasks of the newest
 * 1,000 executions. A refresh ignores a task with such a status, so its execution may end too early
 * or never. Looking at every task would read the whole table, which has no index on the status, and
 * a status that a host starts to use shows up in its newest executions.
 *
 * Needs only `SELECT` on the host's tables; finds nothing if they don't exist.
 * @throws an error from `pg`, also after a second without an answer
 */
export async function findUnknownStatuses(database: Database): Promise<UnknownStatus[]> {
  if (!(await seesHost((sql) => database.query(sql)))) return [];
  return await database.query<UnknownStatus & Record<string, unknown>>(
    `SELECT vendor, coalesce(status, 'NULL') AS status, count(*) AS tasks, min(execution_id) AS "executionId"
       FROM (SELECT e.vendor_type AS vendor, t.status, e.id::bigint AS execution_id
               FROM (SELECT id, vendor_type FROM execution ORDER BY id DESC LIMIT ${EXECUTIONS}) e
              CROSS JOIN LATERAL (SELECT status FROM task WHERE execution_id = e.id LIMIT ${TASKS_OF_EACH}) t
              LIMIT ${TASKS}) AS looked_at
      WHERE status IS NULL OR status <> ALL ($1)
      GROUP BY vendor, status ORDER BY count(*) DESC, status, vendor LIMIT ${GROUPS}`,
    [KNOWN_STATUSES],
    // A scrape runs this as well, and must not wait while somebody has locked the table.
    { enable_seqscan: 'off', statement_timeout: LOOK_MS },
  );
}
