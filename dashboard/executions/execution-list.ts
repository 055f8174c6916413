import type { Database } from '../../shared/postgres/database.ts';
import { readDisagreements } from '../../shared/postgres/disagreements.ts';
import { ORDERED_BY_INDEX } from '../../shared/postgres/pinned.ts';
import { readSetByHand } from '../set-by-hand.ts';
import { AGES, type ListFilter } from './list-filter.ts';

/** Executions on a page. */
export const ROWS = 50;

// A page goes on looking for this long; what lies further is the next page's.
const BUDGET_MS = 200;
// Rows that the first step examines. Each next one examines more while steps are quick.
const FIRST_STEP = 200;
const STEP_MAX = 5_000;
const QUICK_MS = 20;

const FINAL = `('Success', 'Error', 'Stopped')`;
const ISO = `'YYYY-MM-DD"T"HH24:MI:SS"Z"'`;
const COLUMNS = `e.vendor_type AS vendor, e.status, to_char(e.start_time, ${ISO}) AS "startTime",
  to_char(e.end_time, ${ISO}) AS "endTime",
  extract(epoch FROM (now() AT TIME ZONE 'UTC') - e.start_time)::double precision AS "ageSeconds"`;

/** One execution of the list. Times are ISO 8601, UTC. */
export interface ListedExecution {
  readonly executionId: number;
  readonly vendor: string;
  readonly status: string | null;
  readonly startTime: string | null;
  readonly endTime: string | null;
  readonly ageSeconds: number | null;
  /** What its tasks say, of one that is stuck or set by hand; null also if the rule knows none. */
  readonly computed: string | null;
  /** Why its refresh failed for good, of one that failed. */
  readonly error: string | null;
}

/** A page of the list. */
export interface ExecutionPage {
  readonly rows: readonly ListedExecution[];
  /** Rows that were looked at for it. */
  readonly examined: number;
  /** Where the next page starts; undefined after the last row. */
  readonly next: string | undefined;
}

interface Found extends ListedExecution {
  /** Where a page that begins after this row starts. */
  readonly at: string;
}

interface Step {
  readonly found: readonly Found[];
  readonly examined: number;
  readonly next: string | undefined;
}

/**
 * Reads a page of executions. No index orders them by status, so it follows the order of an index
 * in short steps, keeps what is wanted, and ends when the page is full or after 200 ms: a page may
 * have few rows, or none, and still a next one.
 * @throws an error from `pg`
 */
export async function readExecutionPage(
  database: Database,
  filter: ListFilter,
): Promise<ExecutionPage> {
  const begin = performance.now();
  const rows: Found[] = [];
  let examined = 0;
  let from: string | undefined = filter.from;
  let size = FIRST_STEP;
  while (from !== undefined) {
    const stepBegin = performance.now();
    const step: Step = await readStep(database, filter, from, size);
    const room = ROWS - rows.length;
    const wanted = step.found.filter((row) => isWanted(row, filter));
    rows.push(...wanted.slice(0, room));
    examined += step.examined;
    from = step.next;
    if (wanted.length > room) {
      from = rows.at(-1)?.at;
      break;
    }
    const now = performance.now();
    if (rows.length === ROWS || now - begin > BUDGET_MS) break;
    size = now - stepBegin < QUICK_MS ? Math.min(size * 2, STEP_MAX) : Math.max(size / 4, 50) | 0;
  }
  return { rows: rows.map(({ at: _at, ...row }) => row), examined, next: from };
}

function isWanted({ vendor, ageSeconds }: ListedExecution, filter: ListFilter): boolean {
  return (
    (filter.vendor === '' || vendor === filter.vendor) &&
    (filter.age === '' || (ageSeconds ?? 0) >= (AGES[filter.age] ?? 0))
  );
}

function readStep(
  database: Database,
  filter: ListFilter,
  from: string,
  size: number,
): Promise<Step> {
  switch (filter.state) {
    case 'stuck':
      return readStuck(database, from, size);
    case 'failed':
      return readFailed(database, from, size);
    case 'waiting':
      return readWaiting(database, from, size);
    case 'by-hand':
      return readByHand(database, from, size);
    case 'running':
      return readByKey(database, from, size, `coalesce(status NOT IN ${FINAL}, true)`);
    case 'final':
      return readByKey(database, from, size, `status IN ${FINAL}`);
    case 'Success':
    case 'Error':
    case 'Stopped':
      return readByKey(database, from, size, `coalesce(status = '${filter.state}', false)`);
    case 'all':
      return readByKey(database, from, size, 'true');
  }
}

/** Newest first, by primary key. */
async function readByKey(
  database: Database,
  from: string,
  size: number,
  condition: string,
): Promise<Step> {
  const rows = await database.query<Row & { wanted: boolean }>(
    `SELECT e.id::bigint AS "executionId", ${COLUMNS}, e.wanted
       FROM (SELECT *, ${condition} AS wanted FROM execution
              WHERE id < $1::bigint AND id <= ${Number.MAX_SAFE_INTEGER} ORDER BY id DESC LIMIT $2) e
      ORDER BY e.id DESC`,
    [idBefore(from), size],
    ORDERED_BY_INDEX,
  );
  return stepOf(
    rows.filter(({ wanted }) => wanted).map(({ wanted: _wanted, ...row }) => listed(row)),
    rows.length,
    rows.length < size ? undefined : String(rows.at(-1)?.executionId),
  );
}

/** Oldest first, as the reconciler finds them. */
async function readStuck(database: Database, from: string, size: number): Promise<Step> {
  const after = from === '' ? 0 : Number(from.split('~')[0]);
  const { disagreements, last } = await readDisagreements(database, after, size);
  const computed = new Map(disagreements.map((one) => [one.executionId, one.computed]));
  const found = await readThese(database, computed);
  return stepOf(found, size, last === undefined ? undefined : String(last));
}

/** Newest failure first: failures that need a person, in the order of their own index. */
async function readFailed(database: Database, from: string, size: number): Promise<Step> {
  const [, at = '', jobId = ''] = /^(\d+)(?:~(.*))?$/s.exec(from) ?? [];
  const rows = await database.query<Row & { at: string; error: string | null; isThere: boolean }>(
    `SELECT f.execution_id AS "executionId", ${COLUMNS}, f.error, f.at, e.id IS NOT NULL AS "isThere"
       FROM (SELECT execution_id, left(error, 2000) AS error, failed_at, job_id,
                    round(extract(epoch FROM failed_at) * 1000000)::bigint::text || '~' || job_id AS at
               FROM tally.failure
              WHERE NOT refreshed AND NOT superseded
                AND (failed_at, job_id) < ('epoch'::timestamptz + $1::bigint * interval '1 microsecond', $2)
              ORDER BY failed_at DESC, job_id DESC LIMIT $3) f
       LEFT JOIN LATERAL (SELECT * FROM execution WHERE id = f.execution_id OFFSET 0) e ON true
      ORDER BY f.failed_at DESC, f.job_id DESC`,
    [at === '' ? Number.MAX_SAFE_INTEGER : at, jobId, size],
    ORDERED_BY_INDEX,
  );
  const found = rows
    .filter(({ isThere }) => isThere)
    .map(({ at: rowAt, error, isThere: _isThere, ...row }) => ({
      ...listed(row),
      at: rowAt,
      error,
    }));
  return stepOf(found, rows.length, rows.length < size ? undefined : rows.at(-1)?.at);
}

/**
 * Newest execution first: those with rows in the outbox. One lookup finds the next of them, however
 * many rows the one before has.
 */
async function readWaiting(database: Database, from: string, size: number): Promise<Step> {
  const next = (before: string): string =>
    `SELECT o.execution_id AS id FROM tally.outbox o WHERE o.execution_id < ${before} ORDER BY o.execution_id DESC LIMIT 1`;
  const rows = await database.query<Row & { isThere: boolean }>(
    `WITH RECURSIVE walk AS (
       (${next('$1::bigint')})
       UNION ALL
       SELECT following.id FROM walk CROSS JOIN LATERAL (${next('walk.id')}) following
     )
     SELECT w.id AS "executionId", ${COLUMNS}, e.id IS NOT NULL AS "isThere"
       FROM (SELECT id FROM walk LIMIT $2) w
       LEFT JOIN LATERAL (SELECT * FROM execution WHERE id = w.id OFFSET 0) e ON true
      ORDER BY w.id DESC`,
    [idBefore(from), size],
    ORDERED_BY_INDEX,
  );
  return stepOf(
    rows.filter(({ isThere }) => isThere).map(({ isThere: _isThere, ...row }) => listed(row)),
    rows.length,
    rows.length < size ? undefined : String(rows.at(-1)?.executionId),
  );
}

/** Newest execution first: those set by hand, found among the recorded words of the host. */
async function readByHand(database: Database, from: string, size: number): Promise<Step> {
  const words = await database.query<{ id: number }>(
    `SELECT execution_id AS id FROM tally.host_word
      WHERE execution_id < $1 ORDER BY execution_id DESC LIMIT $2`,
    [idBefore(from), size],
    ORDERED_BY_INDEX,
  );
  const computed = await readSetByHand(
    database,
    words.map(({ id }) => id),
  );
  const found = await readThese(database, computed);
  const next = words.length < size ? undefined : String(words.at(-1)?.id);
  return stepOf(found.toReversed(), words.length, next);
}

/** These executions, by primary key, with what their tasks say. */
async function readThese(
  database: Database,
  computed: ReadonlyMap<number, string | null>,
): Promise<Found[]> {
  const rows = await database.query<Row>(
    `SELECT e.id::bigint AS "executionId", ${COLUMNS} FROM execution e
      WHERE e.id = ANY ($1::bigint[]) ORDER BY e.id`,
    [[...computed.keys()]],
    ORDERED_BY_INDEX,
  );
  return rows.map((row) => ({ ...listed(row), computed: computed.get(row.executionId) ?? null }));
}

type Row = Omit<ListedExecution, 'computed' | 'error'> & Record<string, unknown>;

function listed({ executionId, vendor, status, startTime, endTime, ageSeconds }: Row): Found {
  return {
    executionId,
    vendor,
    status,
    startTime,
    endTime,
    ageSeconds,
    computed: null,
    error: null,
    at: String(executionId),
  };
}

function stepOf(found: readonly Found[], examined: number, next: string | undefined): Step {
  return { found, examined, next };
}

function idBefore(from: string): number {
  return from === '' ? Number.MAX_SAFE_INTEGER : Number(from.split('~')[0]);
}

/**
 * About how many executions there are, as Postgres estimated when it last analyzed the table; null
 * before it ever has.
 * @throws an error from `pg`
 */
export async function estimateExecutions(database: Database): Promise<number | null> {
  const [row] = await database.query<{ rows: number }>(
    `SELECT reltuples::double precision AS rows FROM pg_class WHERE oid = to_regclass('execution')`,
  );
  return row === undefined || row.rows < 0 ? null : row.rows;
}
