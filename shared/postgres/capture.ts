import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseError } from 'pg';
import type pg from 'pg';
import { TallyError } from '../errors.ts';
import { backoffMs } from '../process/wait.ts';
import { hostElsewhere, hostProblem } from './host.ts';
import { queryOf } from './database.ts';
import { beginPinned } from './pinned.ts';

/** `incomplete`: a trigger is missing or switched off, so that changes are missed. */
export type CaptureState = 'enabled' | 'disabled' | 'incomplete';

// Whoever waits for this lock makes every writer of task wait behind it, so it waits only briefly.
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
  // A refresh raises the revision. With this condition it doesn't reach the function, nor wait for anything.
  {
    name: 'status',
    table: 'execution',
    fires: `AFTER UPDATE OF status ON execution FOR EACH ROW
      WHEN (NEW.status IN ('Success', 'Error', 'Stopped') AND NEW.revision IS NOT DISTINCT FROM OLD.revision)`,
  },
] as const;

/**
 * Makes the triggers: those on `task`, by which everything that changes tasks is recorded from the next transaction
 * on, and the one on `execution` that notes which final statuses the host has stored by hand. May be repeated.
 * @throws TallyError CAPTURE_IMPOSSIBLE when the table is partitioned or inherits, hides rows from the role or is
 *   missing, or when the schema is, TASK_LOCKED when other transactions hold the table for long
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
 * Adds the triggers that an older version didn't have, if its own are there and none of them is switched off.
 * @throws TallyError TASK_LOCKED, or the error of `pg` when the role doesn't own the host's tables
 */
export async function upgradeCapture(client: pg.Client): Promise<void> {
  const triggers = await readTriggers(client);
  const missing = triggers.length < TRIGGERS.length;
  if (triggers.length > 0 && missing && triggers.every(({ firing }) => firing)) {
    await withTaskLocked(client, () => createCaptureTriggers(client));
  }
}

/** Makes the triggers in the transaction of the caller, also anew: those of an older version, or switched off. */
export async function createCaptureTriggers(client: pg.Client): Promise<void> {
  // CREATE OR REPLACE TRIGGER came with Postgres 14. To drop one that isn't there would lock out readers for nothing.
  if ((await readCaptureState(client)) !== 'disabled') await dropCaptureTriggers(client);
  for (const { name, fires } of TRIGGERS) {
    await client.query(
      `CREATE TRIGGER tally_capture_${name} ${fires} EXECUTE FUNCTION tally.capture_${name}()`,
    );
  }
}

/**
 * Drops the triggers; what they have recorded stays in the outbox.
 * @returns false when there were none
 * @throws TallyError TASK_LOCKED, CAPTURE_IMPOSSIBLE when there is no table `task`
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

/** Drops the triggers in the transaction of the caller. */
export async function dropCaptureTriggers(client: pg.Client): Promise<void> {
  for (const { name, table } of TRIGGERS) {
    const { rows } = await client.query(`SELECT WHERE to_regclass($1) IS NOT NULL`, [table]);
    if (rows.length > 0) {
      await client.query(`DROP TRIGGER IF EXISTS tally_capture_${name} ON ${table}`);
    }
  }
}

export async function readCaptureState(client: pg.Client): Promise<CaptureState> {
  const triggers = await readTriggers(client);
  if (triggers.length === 0) return 'disabled';
  return triggers.filter(({ firing }) => firing).length === TRIGGERS.length
    ? 'enabled'
    : 'incomplete';
}

async function readTriggers(client: pg.Client): Promise<{ firing: boolean }[]> {
  // O: fires for ordinary sessions; A: for replicated changes, too.
  const { rows } = await client.query<{ firing: boolean }>(
    `SELECT tgenabled IN ('O', 'A') AS firing FROM pg_trigger
      WHERE tgrelid IN (to_regclass('task'), to_regclass('execution')) AND tgname = ANY ($1)`,
    [TRIGGERS.map(({ name }) => `tally_capture_${name}`)],
  );
  return rows;
}

/**
 * Runs `work` in a transaction that waits for a lock on the host's tables only for moments, and tries again.
 * @throws TallyError TASK_LOCKED after some 20 s; then nothing has changed
 */
export async function withTaskLocked<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(beginPinned(0, { lock_timeout: LOCK_TIMEOUT_MS }));
      const result = await work();
      await client.query('COMMIT');
      return result;
    } catch (error) {
      // On a lost connection this fails as well; what it was lost by is worth more.
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
