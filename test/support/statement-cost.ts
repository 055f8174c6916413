import { readFileSync } from 'node:fs';
import type { Database } from '../../shared/postgres/database.ts';

/** What statements did, apart from those of the test that reads this. */
export interface StatementCost {
  /** Pages of tables and indexes that they looked at, in the server's memory or on disk; one that is seen twice counts twice. */
  readonly pages: number;
  /** Pages that a sort or a hash had to write to disk. */
  readonly spilledPages: number;
  /** The statement that looked at most pages in a call, on average over its calls. */
  readonly widest: { readonly pages: number; readonly query: string };
}

/** Counts what all statements on this database do while `work` runs. The server must have pg_stat_statements loaded. */
export async function costOf<T>(
  database: Database,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly cost: StatementCost }> {
  await database.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  // Other databases of the server have tests of their own that count.
  await database.query(
    `SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)`,
  );
  const result = await work();
  const rows = await database.query<{
    query: string;
    pages: number;
    spilled: number;
    each: number;
  }>(
    `SELECT query, (shared_blks_hit + shared_blks_read)::float8 AS pages, temp_blks_written::float8 AS spilled,
            (shared_blks_hit + shared_blks_read)::float8 / calls AS each
       FROM pg_stat_statements
      WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query NOT LIKE '%pg_stat_statements%'
      ORDER BY each DESC`,
  );
  const sum = (values: readonly number[]): number => values.reduce((all, one) => all + one, 0);
  return {
    result,
    cost: {
      pages: sum(rows.map(({ pages }) => pages)),
      spilledPages: sum(rows.map(({ spilled }) => spilled)),
      widest: { pages: Math.round(rows[0]?.each ?? 0), query: rows[0]?.query ?? '' },
    },
  };
}

/** The most memory that a process has had, in megabytes. */
export function peakMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1_024);
}

/** Notes how many outbox rows each statement deletes and updates. @returns the most so far, of either */
export async function watchOutboxStatements(
  database: Database,
): Promise<() => Promise<{ readonly deleted: number; readonly updated: number }>> {
  for (const statement of [
    'CREATE TABLE public.outbox_statement (kind text NOT NULL, rows bigint NOT NULL)',
    `CREATE FUNCTION public.note_outbox_statement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
     $$ BEGIN INSERT INTO public.outbox_statement SELECT TG_OP, count(*) FROM touched; RETURN NULL; END $$`,
    `CREATE TRIGGER note_delete AFTER DELETE ON tally.outbox REFERENCING OLD TABLE AS touched
       FOR EACH STATEMENT EXECUTE FUNCTION public.note_outbox_statement()`,
    `CREATE TRIGGER note_update AFTER UPDATE ON tally.outbox REFERENCING OLD TABLE AS touched
       FOR EACH STATEMENT EXECUTE FUNCTION public.note_outbox_statement()`,
  ]) {
    await database.query(statement);
  }
  return async () => {
    const [most] = await database.query<{ deleted: number; updated: number }>(
      `SELECT coalesce(max(rows) FILTER (WHERE kind = 'DELETE'), 0) AS deleted,
              coalesce(max(rows) FILTER (WHERE kind = 'UPDATE'), 0) AS updated FROM public.outbox_statement`,
    );
    return most ?? { deleted: 0, updated: 0 };
  };
}
