import { onTestFinished } from 'vitest';
import { someoneToWait } from './lock-waits.ts';
import { openClient, type Stores } from './stores.ts';

/** A `Database`, or a client of `pg`. */
interface Queryable {
  query(sql: string): Promise<unknown>;
}

/** What gets in the way of refreshes, until it is ended or the test is over. */
export interface Sabotage {
  end(): Promise<void>;
}

export interface Target {
  /** The executions that are hit, with `each` row only; default: all. */
  readonly ids?: readonly number[];
  /** Whether it strikes at each execution or at each statement. */
  readonly each?: 'ROW' | 'STATEMENT';
  readonly event?: string;
}

const LOCK = 7;
let count = 0;

/** Makes each refresh fail with this error, in which `<id>` stands for the execution's id. */
export function failRefreshes(
  database: Queryable,
  error = 'refused by the test',
  { sqlState = 'raise_exception', ...target }: Target & { readonly sqlState?: string } = {},
): Promise<Sabotage> {
  const message =
    target.each === 'STATEMENT'
      ? literal(error)
      : `replace(${literal(error)}, '<id>', NEW.id::text)`;
  return sabotage(
    database,
    `RAISE EXCEPTION USING MESSAGE = ${message}, ERRCODE = ${literal(sqlState)}`,
    target,
  );
}

/** Makes each refresh take so many milliseconds longer. */
export function slowRefreshes(database: Queryable, ms: number, target?: Target): Promise<Sabotage> {
  return sabotage(database, `PERFORM pg_sleep(${ms / 1_000})`, target);
}

/** Makes each statement that records refreshes take so many milliseconds longer. */
export function slowRecording(database: Queryable, ms: number): Promise<Sabotage> {
  const target = { event: 'AFTER INSERT ON tally.outbox', each: 'STATEMENT' } as const;
  return sabotage(database, `PERFORM pg_sleep(${ms / 1_000})`, target);
}

export interface Gate {
  /** Resolves when a refresh waits at the gate: its rows are deleted and its tasks are read. */
  reached(): Promise<void>;
  /** Lets all through, for good. */
  open(): Promise<void>;
}

/** Closes a gate before the update of executions. It opens by itself when its session is lost. */
export async function closeGate(
  { database, environment }: Pick<Stores, 'database' | 'environment'>,
  target?: Target,
): Promise<Gate> {
  await sabotage(database, `PERFORM pg_advisory_xact_lock_shared(${LOCK})`, target);
  const keeper = await openClient(environment.DATABASE_URL);
  await keeper.query(`SELECT pg_advisory_lock(${LOCK})`);
  return {
    reached: () => someoneToWait(database, 'advisory'),
    open: async () => {
      await keeper.query(`SELECT pg_advisory_unlock(${LOCK})`);
    },
  };
}

/** Locks the rows of executions, as a transaction of somebody else. @returns ends that transaction */
export async function lockExecutions(
  databaseUrl: string,
  ids: readonly number[],
): Promise<() => Promise<void>> {
  const holder = await openClient(databaseUrl);
  await holder.query('BEGIN');
  await holder.query('SELECT FROM execution WHERE id = ANY ($1) FOR UPDATE', [ids]);
  return async () => {
    await holder.query('ROLLBACK');
  };
}

/**
 * Runs statements of PL/pgSQL in a trigger.
 * @param target `event`: when it fires; default: before an execution is updated
 */
export async function sabotage(
  database: Queryable,
  statements: string,
  { ids, each = 'ROW', event = 'BEFORE UPDATE ON execution' }: Target = {},
): Promise<Sabotage> {
  const name = `public.sabotage_${++count}`;
  const condition = ids === undefined ? '' : `WHEN (OLD.id = ANY ('{${ids.join(',')}}'))`;
  await database.query(
    `CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN ${statements}; RETURN ${each === 'ROW' ? 'NEW' : 'NULL'}; END $$`,
  );
  await database.query(
    `CREATE TRIGGER sabotage_${count} ${event} FOR EACH ${each} ${condition} EXECUTE FUNCTION ${name}()`,
  );
  const end = async (): Promise<void> => {
    await database.query(`DROP FUNCTION IF EXISTS ${name}() CASCADE`);
  };
  // The server may be gone by then, and the function with it.
  onTestFinished(() => end().catch(() => undefined));
  return { end };
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
