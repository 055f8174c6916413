import type { Database } from './database.ts';
import { seesHost } from './host.ts';

/** The statuses of tasks in the rule (`sql/rollup.sql`), with their case. */
export const KNOWN_STATUSES = ['Pending', 'Scheduled', 'Running', 'Stopped', 'Error', 'Success'];

// What is looked at: the newest executions, of each so many tasks, and so many in all. However large the tables are, that
// takes tens of milliseconds.
const EXECUTIONS = 1_000;
const TASKS_OF_EACH = 1_000;
const TASKS = 10_000;
const LOOK_MS = 1_000;
/** Groups that are told of; whoever writes a new status into every task writes few different ones. */
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
 * Finds statuses that the rule doesn't know among 10,000 tasks of the newest 1,000 executions, the most frequent first.
 * A refresh takes no notice of such a task, so its execution may end too early or never. A look at all tasks would read
 * the whole table, which has no index on the status; a status that a host begins to use is in its newest executions.
 * Needs only `SELECT` on the host's tables; finds nothing where they aren't there.
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
    // A scrape asks for this, too, and must not wait while somebody has locked the table.
    { enable_seqscan: 'off', statement_timeout: LOOK_MS },
  );
}
