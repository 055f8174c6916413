import { expect, onTestFinished } from 'vitest';
import type { Database } from '../../shared/postgres/database.ts';
import { readSql } from '../../shared/postgres/schema.ts';
import { countJobs, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { watchActiveJobs, type SeenJobs } from './active-jobs.ts';
import { untilOutboxIsEmpty } from './executions.ts';
import { until } from './wait.ts';

/** What a normal refresh may take on a busy machine, in milliseconds. */
const NORMAL_MS = 40_000;
/** Executions whose rollup one statement reads. */
const PAGE = 5_000;
/** Of more, only the number is given. */
const NAMED = 20;
const LOOK_AT_JOBS_EVERY_MS = 50;

/** Where to look for what a fault has broken. */
export interface Checked {
  readonly database: Database;
  /** Also checks that no job is left, failed ones included; only for a queue whose Redis answers. */
  readonly queue?: RefreshQueue | undefined;
}

/** Changes tasks, keeps book of it, and tells whether what must hold after every fault does. */
export interface Witness {
  /** Changes the first task of each execution and its end, in one transaction with an entry in the ledger. */
  change(executionIds: readonly number[]): Promise<void>;
  /**
   * Waits until the outbox is empty and checks that
   * - no stored status or end differs from what the tasks say,
   * - no revision ever went down,
   * - no two refreshes of an execution ever went on at once: the later one has read what the earlier one stored,
   * - no identity was seen with two jobs that ran or waited at once, where the witness knows the queue,
   * - each execution of the ledger was refreshed by a statement that saw its last entry,
   * - no job is left, where the witness knows the queue,
   * - a new change of each execution of the ledger is refreshed, too.
   * @throws one error that names every execution that breaks any of these
   */
  verify(timeoutMs?: number): Promise<void>;
}

/**
 * Waits until nothing is on its way any more and checks that no stored status or end differs from what the
 * tasks say and, given the queue, that no job is left.
 * @throws one error that names every execution and job that breaks this
 */
export async function expectNothingBroken(checked: Checked, timeoutMs?: number): Promise<void> {
  fail(await brokenAtRest(checked, timeoutMs));
}

/**
 * Starts to keep book in a database whose changes are captured. The end of a changed task tells the entry: its
 * sequence in seconds, so that a stored end tells which entry the refresh has seen.
 */
export async function witnessRefreshes(checked: Checked): Promise<Witness> {
  const { database, queue } = checked;
  const statements = [
    `CREATE TABLE public.ledger (sequence bigserial PRIMARY KEY, execution_id bigint NOT NULL)`,
    `CREATE TABLE public.revision_history (execution_id bigint, before integer, after integer, xid xid8, seen pg_snapshot)`,
    `CREATE FUNCTION public.note_revision(execution_id bigint, before integer, after integer, seen pg_snapshot)
     RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER AS
     $$ INSERT INTO public.revision_history VALUES ($1, $2, $3, pg_current_xact_id(), $4) RETURNING false $$`,
    // In a condition that is never met, since the function of a trigger has a later snapshot than its statement.
    `CREATE TRIGGER note_revision AFTER UPDATE ON execution FOR EACH ROW
       WHEN (public.note_revision(NEW.id, OLD.revision, NEW.revision, pg_current_snapshot()))
       EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
  ];
  for (const statement of statements) await database.query(statement);
  let seenJobs: (() => SeenJobs) | undefined;
  const watchJobs = (): void => {
    if (queue === undefined || seenJobs !== undefined) return;
    seenJobs = watchActiveJobs(queue, LOOK_AT_JOBS_EVERY_MS);
    onTestFinished(() => {
      seenJobs = undefined;
    });
  };

  const change = async (executionIds: readonly number[]): Promise<void> => {
    watchJobs();
    const changed = await database.query(
      `WITH entry AS (
         INSERT INTO ledger (execution_id) SELECT unnest($1::bigint[]) RETURNING execution_id, sequence)
       UPDATE task t
          SET status = CASE entry.sequence % 3 WHEN 0 THEN 'Success' WHEN 1 THEN 'Error' ELSE 'Stopped' END,
              end_time = timestamp '2030-01-01' + entry.sequence * interval '1 second'
         FROM entry
        WHERE t.id = (SELECT min(id) FROM task WHERE execution_id = entry.execution_id)
       RETURNING t.id`,
      [executionIds],
    );
    expect(changed).toHaveLength(executionIds.length);
  };

  const check = async (timeoutMs: number): Promise<void> => {
    const broken = await brokenAtRest(checked, timeoutMs);
    const fell = await database.query(
      'SELECT * FROM revision_history WHERE after < coalesce(before, 0) ORDER BY execution_id',
    );
    const overlapped = await database.query(
      `SELECT execution_id AS id, a.after AS first, b.after AS second
         FROM revision_history a JOIN revision_history b USING (execution_id)
        WHERE a.xid < b.xid AND a.after > coalesce(a.before, 0) AND b.after > coalesce(b.before, 0)
          AND NOT pg_visible_in_snapshot(a.xid, b.seen) AND NOT pg_visible_in_snapshot(b.xid, a.seen)
        ORDER BY execution_id`,
    );
    const lost = await database.query(
      `SELECT l.execution_id AS id, max(l.sequence) AS entry, e.status, e.end_time::text AS "end", e.revision
         FROM ledger l LEFT JOIN execution e ON e.id = l.execution_id
        GROUP BY l.execution_id, e.status, e.end_time, e.revision
       HAVING e.end_time IS DISTINCT FROM timestamp '2030-01-01' + max(l.sequence) * interval '1 second'
        ORDER BY l.execution_id`,
    );
    fail([
      ...broken,
      ...named('revision went down', fell),
      ...named('refreshed twice at once', overlapped),
      ...(seenJobs?.().twice ?? []).map((what) => `two jobs at once: ${what}`),
      ...named('refreshed without its last change', lost),
    ]);
  };

  return {
    change,
    async verify(timeoutMs = 20_000) {
      await check(timeoutMs);
      const touched = await database.query<{ id: number }>(
        'SELECT DISTINCT execution_id AS id FROM ledger',
      );
      // A fault test that has changed nothing proves nothing.
      expect(touched).not.toEqual([]);
      await change(touched.map(({ id }) => id));
      await check(NORMAL_MS);
    },
  };
}

/** Waits for rest; what still isn't at rest when the time is over is broken as well. */
async function brokenAtRest(
  { database, queue }: Checked,
  timeoutMs?: number,
): Promise<readonly string[]> {
  const late: string[] = [];
  const noteLate = (error: unknown): void => {
    late.push(String(error));
  };
  await untilOutboxIsEmpty(database, timeoutMs).catch(noteLate);
  if (queue !== undefined) {
    await until('no job to be left', () => isEmpty(queue), timeoutMs).catch(noteLate);
  }
  return [
    ...late,
    ...(await differing(database)),
    ...named(
      'still in the outbox',
      await database.query(
        'SELECT execution_id AS id, source, due_at::text, sent_at::text FROM tally.outbox ORDER BY execution_id',
      ),
    ),
    ...(queue === undefined ? [] : await jobsLeft(queue)),
  ];
}

/** The executions whose stored status or end isn't what their tasks say. */
async function differing(database: Database): Promise<string[]> {
  const all: object[] = [];
  for (let after: number | undefined = 0; after !== undefined;) {
    const page: { id: number }[] = await database.query<{ id: number }>(
      'SELECT id::bigint AS id FROM execution WHERE id > $1::bigint ORDER BY id LIMIT $2',
      [after, PAGE],
    );
    const rows = await database.query(
      `SELECT e.id, e.status, e.end_time::text AS "end", e.revision,
              r.status AS "statusOfTasks", r.end_time::text AS "endOfTasks"
         FROM execution e JOIN (${readSql('rollup')}) r ON r.execution_id = e.id
        WHERE (e.status, e.end_time) IS DISTINCT FROM (r.status, r.end_time)
        ORDER BY e.id`,
      [page.map(({ id }) => id)],
    );
    all.push(...rows);
    after = page.at(-1)?.id;
  }
  return named('differs from its tasks', all);
}

/** Whether no job is left, not even a failed one; the janitor removes those that are refreshed meanwhile. */
async function isEmpty(queue: RefreshQueue): Promise<boolean> {
  return Object.values(await countJobs(queue)).every((count) => count === 0);
}

async function jobsLeft(queue: RefreshQueue): Promise<string[]> {
  const states = ['waiting', 'prioritized', 'active', 'delayed', 'failed'] as const;
  const jobs = await Promise.all(
    states.map(async (state) => {
      const found = await queue.getJobs([state]);
      return named(
        `job is ${state}`,
        found.map(({ id, data, failedReason }) => ({ id, ...data, failedReason })),
      );
    }),
  );
  return jobs.flat();
}

function named(what: string, rows: readonly object[]): string[] {
  const lines = rows.slice(0, NAMED).map((row) => `${what}: ${JSON.stringify(row)}`);
  return rows.length > NAMED ? [...lines, `${what}: ${rows.length} in all`] : lines;
}

function fail(broken: readonly string[]): void {
  if (broken.length > 0) expect.fail(`broken after the fault:\n${broken.join('\n')}`);
}
