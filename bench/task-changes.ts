import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type { Database } from '../shared/postgres/database.ts';
import type { Identity } from '../shared/execution.ts';
import type { Arena } from './servers.ts';

const CONNECTIONS = 16;
const STATUSES = ['Running', 'Success', 'Error', 'Stopped'] as const;

/** A task that may be changed. */
export interface Task extends Identity {
  readonly taskId: number;
}

/** One committed change of a task: which execution it was of, and in which transaction. */
interface Change {
  readonly executionId: number;
  readonly xid: string;
}

export interface ChangeOptions {
  /** Changes a second, each in a transaction of its own. */
  readonly rate: number;
  readonly seconds: number;
  /** Called before each change, as Harbor's hooks mark an execution before they commit. */
  readonly beforeChange?: (identity: Identity) => Promise<unknown>;
}

/** The tasks of executions 1 to `executions`. */
export async function readTasks(arena: Arena, executions: number): Promise<readonly Task[]> {
  return await arena.database.query<Task & Record<string, unknown>>(
    `SELECT id::bigint AS "taskId", execution_id::bigint AS "executionId", vendor_type AS vendor
       FROM task WHERE execution_id <= $1`,
    [executions],
  );
}

/**
 * Changes random ones of the tasks at an even pace, and records each change in `bench.change` afterwards, so that
 * recording costs nothing while it is measured.
 * @returns changes a second that were reached
 */
export async function changeTasks(
  arena: Arena,
  tasks: readonly Task[],
  options: ChangeOptions,
): Promise<number> {
  const beginMs = performance.now();
  const changes = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, nth) => write(arena, tasks, options, beginMs, nth)),
  );
  const seconds = (performance.now() - beginMs) / 1000;
  const all = changes.flat();
  await record(arena.database, all);
  return all.length / seconds;
}

/** One connection's share of the changes, each at its own moment; behind its time, it hurries. */
async function write(
  arena: Arena,
  tasks: readonly Task[],
  { rate, seconds, beforeChange }: ChangeOptions,
  beginMs: number,
  nth: number,
): Promise<Change[]> {
  const client = new Client({ connectionString: arena.databaseUrl });
  await client.connect();
  const changes: Change[] = [];
  for (let turn = nth; turn < rate * seconds; turn += CONNECTIONS) {
    const waitMs = beginMs + (turn * 1000) / rate - performance.now();
    if (waitMs > 0) await delay(waitMs);
    const task = tasks[Math.floor(Math.random() * tasks.length)];
    if (task === undefined) break;
    await beforeChange?.(task);
    const { rows } = await client.query<{ xid: string }>({
      name: 'change',
      // The status may be the same by chance, and then only the end makes it a change.
      text: `UPDATE task SET status = $2, end_time = timezone('UTC', clock_timestamp())
              WHERE id = $1 RETURNING pg_current_xact_id()::xid::text AS xid`,
      values: [task.taskId, STATUSES[Math.floor(Math.random() * STATUSES.length)]],
    });
    changes.push({ executionId: task.executionId, xid: rows[0]?.xid ?? '' });
  }
  await client.end();
  return changes;
}

async function record(database: Database, changes: readonly Change[]): Promise<void> {
  await database.query(
    `INSERT INTO bench.change (execution_id, xid)
     SELECT id, xid::xid FROM unnest($1::integer[], $2::text[]) AS made (id, xid)`,
    [changes.map(({ executionId }) => executionId), changes.map(({ xid }) => xid)],
  );
}
