import { expect } from 'vitest';
import type { Database } from '../../shared/postgres/database.ts';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { untilOutboxIsEmpty } from './executions.ts';

/** What a normal refresh may take on a busy machine, in milliseconds. */
const NORMAL_MS = 40_000;

/** Changes tasks, keeps book of it, and tells whether what must hold after every fault does. */
export interface Witness {
  /** Changes the first task of each execution and its end, in one transaction with an entry in the ledger. */
  change(executionIds: readonly number[]): Promise<void>;
  /**
   * Waits until the outbox is empty and checks that
   * - no stored status or end differs from what the tasks say,
   * - no revision ever went down,
   * - each execution of the ledger was refreshed by a statement that saw its last entry,
   * - a new change of each of them is refreshed, too.
   */
  verify(timeoutMs?: number): Promise<void>;
}

/**
 * Starts to keep book in a database whose changes are captured. The end of a changed task tells the entry: its
 * sequence in seconds, so that a stored end tells which entry the refresh has seen.
 */
export async function witnessRefreshes(database: Database): Promise<Witness> {
  const statements = [
    `CREATE TABLE public.ledger (sequence bigserial PRIMARY KEY, execution_id bigint NOT NULL)`,
    `CREATE TABLE public.revision_history (execution_id bigint, before integer, after integer)`,
    `CREATE FUNCTION public.note_revision() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
     $$ BEGIN
       INSERT INTO public.revision_history VALUES (NEW.id, OLD.revision, NEW.revision);
       RETURN NULL;
     END $$`,
    `CREATE TRIGGER note_revision AFTER UPDATE ON execution FOR EACH ROW EXECUTE FUNCTION public.note_revision()`,
  ];
  for (const statement of statements) await database.query(statement);

  const change = async (executionIds: readonly number[]): Promise<void> => {
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
    await untilOutboxIsEmpty(database, timeoutMs);
    expect(await countDisagreements(database, 'outOfDate')).toBe(0);
    expect(
      await database.query('SELECT * FROM revision_history WHERE after < coalesce(before, 0)'),
    ).toEqual([]);
    expect(
      await database.query(
        `SELECT l.execution_id, max(l.sequence) AS entry, e.status, e.end_time
           FROM ledger l LEFT JOIN execution e ON e.id = l.execution_id
          GROUP BY l.execution_id, e.status, e.end_time
         HAVING e.end_time IS DISTINCT FROM timestamp '2030-01-01' + max(l.sequence) * interval '1 second'`,
      ),
    ).toEqual([]);
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
