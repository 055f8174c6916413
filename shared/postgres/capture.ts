import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseError } from 'pg';
import type pg from 'pg';
import { TallyError } from '../errors.ts';
import { backoffMs } from '../process/wait.ts';
import { hostElsewhere, hostProblem } from './host.ts';
import { queryOf } from './database.ts';
import { beginPinned } from './pinned.ts';

/** `incomplete`: a trigger is missing or disabled, so changes are missed. */
export type CaptureState = 'enabled' | 'disabled' | 'incomplete';

// Every writer of `task` queues behind whoever waits for this lock, so it waits only briefly.
const LOCK_TIMEOUT_MS = 500;
const LOCK_TRIES = 30;

const TRIGGERS = [
  {
    name: 'insert',
    table: 'task',
    fires: 'AFTER INSERT ON task REFERENCING NEW TABLE AS new_tasks FOR EACH STATEMENT',
  },
  {
    name: 'update',
    table: 'task',
    fires:
      'AFTER UPDATE ON task REFERENCING OLD TABLE AS old_tasks NEW TABLE AS new_tasks FOR EACH STATEMENT',
  },
  {
    name: 'delete',
    table: 'task',
    fires: 'AFTER DELETE ON task REFERENCING OLD TABLE AS old_tasks FOR EACH STATEMENT',
  },
  // A refresh raises the revision. With this condition, it neither calls the function nor waits for
  // anything.
  {
    name: 'status',
    table: 'execution',
    fires: `AFTER UPDATE OF status ON execution FOR EACH ROW
      WHEN (NEW.status IN ('Success', 'Error', 'Stopped') AND NEW.revision IS NOT DISTINCT FROM OLD.revision)`,
  },
] as const;

/**
 * Creates the triggers: those on `task`, which record every change of tasks from the next
 * transaction on, and the one on `execution`, which notes final statuses that the host stores
 * itself. Can be repeated.
 * @throws TallyError CAPTURE_IMPOSSIBLE if the table is partitioned or inherits, hides rows from
 *   the role or is missing, or if the schema is missing or old
 * @throws TallyError TASK_LOCKED if other transactions hold the table for long
 */
export async function enableCapture(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ installed: boolean; kind: string; related: boolean }>(
    `SELECT to_regprocedure('tally.capture_status()') IS NOT NULL AS installed, c.relkind AS kind,
            EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS related
       FROM pg_class c WHERE c.oid = to_regclass('task')`,
  );
  const [task] = rows;
  if (task !== undefined && (task.kind !== 'r' || task.related)) {
    throw new TallyError(
      'CAPTURE_IMPOSSIBLE',
      'task is a view, partitioned or part of an inheritance, where changes can pass by a trigger; record refreshes with POST /v1/refreshes or an INSERT into tally.outbox instead',
    );
  }
  const problem =
    (await hostProblem(queryOf(client))) ??
    (task?.installed === true ? undefined : 'schema tally is not up to date; run: tally migrate');
  if (problem !== undefined || task === undefined) {
    throw new TallyError('CAPTURE_IMPOSSIBLE', problem ?? 'there is no table task');
  }
  await withTaskLocked(client, () => createCaptureTriggers(client));
}

/**
 * Adds the triggers that an older version didn't have, if its own are there and enabled.
 * @throws TallyError TASK_LOCKED
 * @throws an error from `pg` if the role doesn't own the host's tables
 */
export async function upgradeCapture(client: pg.Client): Promise<void> {
  const triggers = await readTriggers(client);
  const missing = triggers.length < TRIGGERS.length;
  if (triggers.length > 0 && missing && triggers.every(({ firing }) => firing)) {
    await withTaskLocked(client, () => createCaptureTriggers(client));
  }
}

/**
 * Creates the triggers in the caller's transaction, and replaces those that exist: they may be
 * disabled or of an older version.
 * @throws an error from `pg`
 */
export async function createCaptureTriggers(client: pg.Client): Promise<void> {
  // Postgres 13 has no CREATE OR REPLACE TRIGGER. Dropping a trigger that doesn't exist would lock
  // out readers for nothing.
  if ((await readCaptureState(client)) !== 'disabled') await dropCaptureTriggers(client);
  for (const { name, fires } of TRIGGERS) {
    await client.query(
      `CREATE TRIGGER tally_capture_${name} ${fires} EXECUTE FUNCTION tally.capture_${name}()`,
    );
  }
}

/**
 * Drops the triggers; what they recorded stays in the outbox.
 * @returns false if there were none
 * @throws TallyError TASK_LOCKED
 * @throws TallyError CAPTURE_IMPOSSIBLE if there is no table `task`
 */
export async function disableCapture(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ task: boolean }>(
    `SELECT to_regclass('task') IS NOT NULL AS task`,
  );
  if (rows[0]?.task !== true) {
    const elsewhere = await hostElsewhere(queryOf(client));
    throw new TallyError(
      'CAPTURE_IMPOSSIBLE',
      elsewhere ?? 'there is no table task, so nothing to disable; check DATABASE_URL',
    );
  }
  if ((await readCaptureState(client)) === 'disabled') return false;
  await withTaskLocked(client, () => dropCaptureTriggers(client));
  return true;
}

/** Drops the triggers in the caller's transaction. @throws an error from `pg` */
export async function dropCaptureTriggers(client: pg.Client): Promise<void> {
  for (const { name, table } of TRIGGERS) {
    const { rows } = await client.query(`SELECT WHERE to_regclass($1) IS NOT NULL`, [table]);
    if (rows.length > 0) {
      await client.query(`DROP TRIGGER IF EXISTS tally_capture_${name} ON ${table}`);
    }
  }
}

/** Whether changes are captured. @throws an error from `pg` */
export async function readCaptureState(client: pg.Client): Promise<CaptureState> {
  const triggers = await readTriggers(client);
  if (triggers.length === 0) return 'disabled';
  return triggers.filter(({ firing }) => firing).length === TRIGGERS.length
    ? 'enabled'
    : 'incomplete';
}

async function readTriggers(client: pg.Client): Promise<{ firing: boolean }[]> {
  // O: fires in ordinary sessions; A: for replicated changes as well.
  const { rows } = await client.query<{ firing: boolean }>(
    `SELECT tgenabled IN ('O', 'A') AS firing FROM pg_trigger
      WHERE tgrelid IN (to_regclass('task'), to_regclass('execution')) AND tgname = ANY ($1)`,
    [TRIGGERS.map(({ name }) => `tally_capture_${name}`)],
  );
  return rows;
}

/**
 * Runs `work` in a transaction that waits only briefly for locks on the host's tables, and retries
 * it.
 * @throws TallyError TASK_LOCKED after about 20 s; then nothing has changed
 */
export async function withTaskLocked<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(beginPinned(0, { lock_timeout: LOCK_TIMEOUT_MS }));
      const result = await work();
      await client.query('COMMIT');
      return result;
    } catch (error) {
      // On a lost connection this fails as well; the first error says more.
      await client.query('ROLLBACK').catch(() => undefined);
      if (!(error instanceof DatabaseError) || error.code !== '55P03') throw error;
      if (attempt === LOCK_TRIES) {
        throw new TallyError(
          'TASK_LOCKED',
          'other transactions hold the table task (or execution, or tally.outbox); nothing was changed. End the long ones (pg_stat_activity shows them) or run the command again when it is quieter',
          { cause: error },
        );
      }
    }
    await delay(backoffMs(attempt, 50, 400));
  }
}
