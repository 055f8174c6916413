import type { Identity } from '../../shared/execution.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { until } from './wait.ts';

export interface StoredExecution {
  readonly status: string | null;
  readonly endTime: string | null;
  readonly revision: number | null;
}

/** Executions created by one statement, which then ends within its time limit on a busy machine, too. */
const CREATE_CHUNK = 20_000;

/**
 * Creates executions of vendor REPLICATION, out of date: stored as Running, with tasks of the given
 * statuses, each of which ended at 2026-01-02 03:04:05.
 * @returns their ids
 */
export async function createExecutions(
  database: Database,
  count: number,
  taskStatuses: readonly string[] = ['Success'],
): Promise<number[]> {
  if (count > CREATE_CHUNK) {
    const first = await createExecutions(database, CREATE_CHUNK, taskStatuses);
    return [...first, ...(await createExecutions(database, count - CREATE_CHUNK, taskStatuses))];
  }
  const rows = await database.query<{ id: number }>(
    `WITH created AS (
       INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision)
       SELECT 'REPLICATION', n, 'Running', 'MANUAL', 0 FROM generate_series(1, $1) AS n
       RETURNING id
     ), tasks AS (
       INSERT INTO task (execution_id, status, status_code, vendor_type, end_time)
       SELECT id, status, 3, 'REPLICATION', '2026-01-02 03:04:05'
         FROM created, unnest($2::text[]) AS status
     )
     SELECT id::bigint AS id FROM created ORDER BY id`,
    [count, taskStatuses],
  );
  return rows.map(({ id }) => id);
}

/** As {@link createExecutions} does, a single one. @returns its id */
export async function createExecution(
  database: Database,
  taskStatuses?: readonly string[],
): Promise<number> {
  const [id = 0] = await createExecutions(database, 1, taskStatuses);
  return id;
}

/** What asks for the refresh of an execution that `createExecutions` created. */
export function refreshOf(executionId: number): Identity {
  return { executionId, vendor: 'REPLICATION' };
}

export function refreshesOf(executionIds: readonly number[]): Identity[] {
  return executionIds.map(refreshOf);
}

export async function readExecution(database: Database, id: number): Promise<StoredExecution> {
  const [row] = await database.query<StoredExecution & Record<string, unknown>>(
    `SELECT status, to_char(end_time, 'YYYY-MM-DD HH24:MI:SS') AS "endTime", revision
       FROM execution WHERE id = $1`,
    [id],
  );
  if (row === undefined) throw new Error(`execution ${id} does not exist`);
  return row;
}

export async function outboxRows(database: Database): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    'SELECT count(*) AS count FROM tally.outbox',
  );
  return row?.count ?? 0;
}

/** As {@link untilOutboxHas} waits, until the outbox is empty. */
export function untilOutboxIsEmpty(database: Database, timeoutMs?: number): Promise<void> {
  return untilOutboxHas(database, 0, timeoutMs);
}

/**
 * Waits until the outbox has at most so many rows, however long that takes.
 * @throws if it hasn't become smaller for `timeoutMs` milliseconds
 */
export async function untilOutboxHas(
  database: Database,
  atMost: number,
  timeoutMs?: number,
): Promise<void> {
  for (let least = Number.POSITIVE_INFINITY; least > atMost;) {
    const most = least;
    const fewerRows = async (): Promise<number | undefined> => {
      const rows = await outboxRows(database);
      return rows < most ? rows : undefined;
    };
    least = await until(`the outbox to have fewer than ${most} rows`, fewerRows, timeoutMs);
  }
}

/** How often the executions were refreshed: revision starts at 0 and goes up by one each time. */
export async function countByRevision(
  database: Database,
  ids: readonly number[],
): Promise<Record<number, number>> {
  const rows = await database.query<{ revision: number; count: number }>(
    'SELECT revision, count(*) AS count FROM execution WHERE id = ANY ($1) GROUP BY revision',
    [ids],
  );
  return Object.fromEntries(rows.map(({ revision, count }) => [revision, count]));
}
