import { TallyError } from '../errors.ts';
import type { Query } from './database.ts';

/** Postgres: an older server is refused. */
export const OLDEST_MAJOR = 13;
/** Postgres: a newer server is used, untested. */
export const NEWEST_TESTED_MAJOR = 18;

interface HostFacts {
  readonly major: number;
  readonly version: string;
  readonly role: string;
  readonly searchPath: string;
  /** Table names with their schema, as the role's search_path finds them; null if it doesn't. */
  readonly execution: string | null;
  readonly task: string | null;
  /** Whether row-level security hides rows of the table from the role. */
  readonly executionIsFiltered: boolean | null;
  readonly taskIsFiltered: boolean | null;
  /** A table with capture other than the `task` that the role sees. */
  readonly capturedElsewhere: string | null;
}

async function readFacts(query: Query): Promise<HostFacts | undefined> {
  const [facts] = await query<HostFacts & Record<string, unknown>>(
    `SELECT current_setting('server_version_num')::integer / 10000 AS major,
            current_setting('server_version') AS version,
            current_user AS role, current_setting('search_path') AS "searchPath",
            e.name AS execution, t.name AS task,
            row_security_active(e.oid) AS "executionIsFiltered",
            row_security_active(t.oid) AS "taskIsFiltered",
            (SELECT g.tgrelid::regclass::text FROM pg_trigger g
              WHERE g.tgname = 'tally_capture_insert' AND g.tgrelid <> t.oid LIMIT 1) AS "capturedElsewhere"
       FROM (VALUES (1)) AS one_row
       LEFT JOIN (SELECT c.oid, format('%I.%I', c.relnamespace::regnamespace::text, c.relname) AS name
                    FROM pg_class c WHERE c.oid = to_regclass('execution')) e ON true
       LEFT JOIN (SELECT c.oid, format('%I.%I', c.relnamespace::regnamespace::text, c.relname) AS name
                    FROM pg_class c WHERE c.oid = to_regclass('task')) t ON true`,
  );
  return facts;
}

/**
 * Why Tally can't work with this server, role and search_path.
 * @returns undefined if it can, else a sentence that says what to do
 * @throws an error from `pg`
 */
export async function hostProblem(query: Query): Promise<string | undefined> {
  const facts = await readFacts(query);
  if (facts === undefined) return 'Postgres returned no row for its version and search_path';
  const { execution, task, role } = facts;
  if (facts.major < OLDEST_MAJOR) return versionProblem(facts.version);
  if (execution === null || task === null) {
    const elsewhere = await hostElsewhere(query);
    if (elsewhere !== undefined) return elsewhere;
    return `role ${role} finds no table ${execution === null ? 'execution' : 'task'} on its search_path (${facts.searchPath}); check DATABASE_URL`;
  }
  if (facts.executionIsFiltered === true) return await rowSecurityProblem(query, execution, role);
  if (facts.taskIsFiltered === true) return await rowSecurityProblem(query, task, role);
  if (facts.capturedElsewhere !== null) {
    return `capture is on ${facts.capturedElsewhere}, but role ${role} sees ${task} on its search_path (${facts.searchPath}); set the search_path of the role, or run tally capture disable with the other one`;
  }
  return undefined;
}

/**
 * Refuses a server that is too old for Tally.
 * @throws TallyError POSTGRES_TOO_OLD
 * @throws an error from `pg`
 */
export async function refuseOldServer(query: Query): Promise<void> {
  const { problem } = await readServerVersion(query);
  if (problem !== undefined) throw new TallyError('POSTGRES_TOO_OLD', problem);
}

/**
 * The server's version, and why Tally can't work with it.
 * @returns `problem` undefined if it can, else a sentence that says what to do
 * @throws an error from `pg`
 */
export async function readServerVersion(
  query: Query,
): Promise<{ readonly version: string; readonly problem: string | undefined }> {
  const [server] = await query<{ major: number; version: string }>(
    `SELECT current_setting('server_version_num')::integer / 10000 AS major,
            current_setting('server_version') AS version`,
  );
  const { major = OLDEST_MAJOR, version = 'unknown' } = server ?? {};
  return { version, problem: major < OLDEST_MAJOR ? versionProblem(version) : undefined };
}

/** Whether the role's search_path finds both of the host's tables. @throws an error from `pg` */
export async function seesHost(query: Query): Promise<boolean> {
  const [found] = await query<{ both: boolean }>(
    `SELECT to_regclass('execution') IS NOT NULL AND to_regclass('task') IS NOT NULL AS both`,
  );
  return found?.both === true;
}

function versionProblem(version: string): string {
  return `this server is Postgres ${version}; Tally needs Postgres ${OLDEST_MAJOR} or newer (it is tested with ${OLDEST_MAJOR} to ${NEWEST_TESTED_MAJOR}). Upgrade the server`;
}

/**
 * Where the host's tables are, if the search_path finds only one of them or none: a sentence that
 * names the schemas and what to set. Undefined if no schema has both.
 * @throws an error from `pg`
 */
export async function hostElsewhere(query: Query): Promise<string | undefined> {
  const schemas = await query<{ name: string; role: string }>(
    `SELECT n.nspname AS name, current_user AS role
       FROM pg_class e
       JOIN pg_class t ON t.relnamespace = e.relnamespace AND t.relname = 'task'
       JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'execution_id' AND NOT a.attisdropped
       JOIN pg_namespace n ON n.oid = e.relnamespace
      WHERE e.relname = 'execution' AND e.relkind IN ('r', 'p', 'v', 'f')
        AND n.nspname NOT IN ('tally', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
      ORDER BY n.nspname`,
  );
  const [first, ...more] = schemas;
  if (first === undefined) return undefined;
  const names = [first, ...more].map(({ name }) => name).join(', ');
  return (
    `execution and task lie in schema ${names}, which role ${first.role} doesn't search; ` +
    `add ?options=-c%20search_path%3D${encodeURIComponent(first.name)} to DATABASE_URL, or run (a pooler needs it) ` +
    `ALTER ROLE ${quoted(first.role)} SET search_path = ${quoted(first.name)}`
  );
}

async function rowSecurityProblem(query: Query, table: string, role: string): Promise<string> {
  const policies = await query<{ name: string }>(
    `SELECT polname AS name FROM pg_policy WHERE polrelid = to_regclass($1) ORDER BY polname`,
    [table],
  );
  const names = policies.map(({ name }) => name).join(', ') || 'none, which hides every row';
  return (
    `row level security hides rows of ${table} from role ${role} (policies: ${names}), so refreshes would not see all tasks; ` +
    `run ALTER ROLE ${quoted(role)} BYPASSRLS, connect as the owner of the table, or run ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`
  );
}

function quoted(identifier: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(identifier)
    ? identifier
    : `"${identifier.replaceAll('"', '""')}"`;
}
