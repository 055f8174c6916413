import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseError } from 'pg';
import type pg from 'pg';
import { TallyError } from '../errors.ts';
import { backoffMs } from '../process/wait.ts';

/** `incomplete`: a trigger is missing or switched off, so that changes are missed. */
export type CaptureState = 'enabled' | 'disabled' | 'incomplete';

// Whoever waits for this lock makes every writer of task wait behind it, so it waits only briefly.
const LOCK_TIMEOUT_MS = 500;
const LOCK_TRIES = 30;

const TRIGGERS = [
  ['insert', 'AFTER INSERT', 'NEW TABLE AS new_tasks'],
  ['update', 'AFTER UPDATE', 'OLD TABLE AS old_tasks NEW TABLE AS new_tasks'],
  ['delete', 'AFTER DELETE', 'OLD TABLE AS old_tasks'],
] as const;

/**
 * Makes the triggers on `task`, on which everything that changes tasks is recorded from the next
 * transaction on. May be repeated.
 * @throws TallyError CAPTURE_IMPOSSIBLE when the table is partitioned or inherits or the schema is
 *   missing, TASK_LOCKED when other transactions hold the table for long
 */
export async function enableCapture(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ installed: boolean; kind: string; related: boolean }>(
    `SELECT to_regprocedure('tally.capture_update()') IS NOT NULL AS installed, c.relkind AS kind,
            EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS related
       FROM pg_class c WHERE c.oid = to_regclass('task')`,
  );
  const [task] = rows;
  if (task === undefined) {
    throw new TallyError('CAPTURE_IMPOSSIBLE', 'there is no table task; check DATABASE_URL');
  }
  if (!task.installed) {
    throw new TallyError(
      'CAPTURE_IMPOSSIBLE',
      'schema tally is not up to date; run: tally migrate',
    );
  }
  if (task.kind !== 'r' || task.related) {
    throw new TallyError(
      'CAPTURE_IMPOSSIBLE',
      'task is a view, partitioned or part of an inheritance, where changes can pass by a trigger; record refreshes with POST /v1/refreshes or an INSERT into tally.outbox instead',
    );
  }
  await withTaskLocked(client, () => createCaptureTriggers(client));
}

/** Makes the triggers in the transaction of the caller. */
export async function createCaptureTriggers(client: pg.Client): Promise<void> {
  for (const [name, event, tables] of TRIGGERS) {
    await client.query(
      `CREATE OR REPLACE TRIGGER tally_capture_${name} ${event} ON task REFERENCING ${tables}
       FOR EACH STATEMENT EXECUTE FUNCTION tally.capture_${name}()`,
    );
  }
  // One that an administrator had switched off stays off when it is replaced.
  await client.query(
    TRIGGERS.map(([name]) => `ALTER TABLE task ENABLE TRIGGER tally_capture_${name}`).join(';'),
  );
}

/** Drops the triggers; what they have recorded stays in the outbox. @throws TallyError TASK_LOCKED */
export async function disableCapture(client: pg.Client): Promise<void> {
  await withTaskLocked(client, () => dropCaptureTriggers(client));
}

/** Drops the triggers in the transaction of the caller. */
export async function dropCaptureTriggers(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ task: boolean }>(
    `SELECT to_regclass('task') IS NOT NULL AS task`,
  );
  if (rows[0]?.task !== true) return;
  for (const [name] of TRIGGERS) {
    await client.query(`DROP TRIGGER IF EXISTS tally_capture_${name} ON task`);
  }
}

export async function readCaptureState(client: pg.Client): Promise<CaptureState> {
  const { rows } = await client.query<{ enabled: string | null }>(
    `SELECT tgenabled AS enabled FROM pg_trigger
      WHERE tgrelid = to_regclass('task') AND tgname = ANY ($1)`,
    [TRIGGERS.map(([name]) => `tally_capture_${name}`)],
  );
  if (rows.length === 0) return 'disabled';
  // O: fires for ordinary sessions; A: for replicated changes, too.
  const firing = rows.filter(({ enabled }) => enabled === 'O' || enabled === 'A');
  return firing.length === TRIGGERS.length ? 'enabled' : 'incomplete';
}

/**
 * Runs `work` in a transaction that waits for the lock on `task` only for moments, and tries again.
 * @throws TallyError TASK_LOCKED after some 20 s; then nothing has changed
 */
export async function withTaskLocked<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(`BEGIN; SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}`);
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
          'other transactions hold the table task (or tally.outbox); nothing was changed. End the long ones (pg_stat_activity shows them) or run the command again when it is quieter',
          { cause: error },
        );
      }
    }
    await delay(backoffMs(attempt, 50, 400));
  }
}
