import type { Database } from '../database.ts';
import { readDisagreements, type DisagreementPage } from '../disagreements.ts';
import { seesHost } from '../host.ts';
import { findUnknownStatuses } from '../unknown-statuses.ts';
import { ok, problem, warning, type Check, type Verdict } from '../../process/finding.ts';

// to_regclass('tally.outbox') would require USAGE on the schema.
const OUTBOX = `(SELECT oid FROM pg_class WHERE relname = 'outbox' AND relnamespace = to_regnamespace('tally'))`;

/** The checks of the host's two tables, as this role and its `search_path` see them. */
export function hostChecks(database: Database): Check[] {
  return [
    { name: 'indexes', look: () => checkIndexes(database) },
    { name: 'rights', look: () => checkRights(database) },
    { name: 'lock waits', look: () => checkLockWaits(database) },
    { name: 'foreign triggers', look: () => checkForeignTriggers(database) },
    { name: 'task statuses', look: () => checkTaskStatuses(database) },
    { name: 'disagreements', look: () => checkDisagreements(database) },
  ];
}

async function checkIndexes(database: Database): Promise<Verdict> {
  const rows = await database.query<{ needed: string; name: string | null }>(
    `WITH needed (needed, relation, attribute) AS (
       VALUES ('execution (id)', to_regclass('execution'), 'id'),
              ('task (execution_id)', to_regclass('task'), 'execution_id'),
              ('tally.outbox (execution_id)', ${OUTBOX}, 'execution_id'),
              ('tally.outbox (sent_at, due_at)', ${OUTBOX}, 'sent_at')
     )
     SELECT n.needed, min(i.indexrelid::regclass::text) AS name
       FROM needed n
       LEFT JOIN pg_attribute a ON a.attrelid = n.relation AND a.attname = n.attribute
       LEFT JOIN pg_index i ON i.indrelid = n.relation AND i.indkey[0] = a.attnum
                           AND i.indisvalid AND i.indpred IS NULL
      WHERE n.relation IS NOT NULL
      GROUP BY n.needed ORDER BY n.needed`,
  );
  const missing = rows.filter(({ name }) => name === null).map(({ needed }) => needed);
  if (missing.length === 0) return ok('all that a refresh needs exist and are valid');
  const column = /^(\S+) \((.*)\)$/.exec(missing[0] ?? '');
  return problem(
    `no valid index on ${missing.join(', on ')}: every refresh reads the whole table`,
    `CREATE INDEX CONCURRENTLY ON ${column?.[1]} (${column?.[2]})`,
  );
}

const UPDATED_COLUMNS = ['status', 'end_time', 'revision', 'update_time'];

async function checkRights(database: Database): Promise<Verdict> {
  const rows = await database.query<{ missing: string }>(
    `WITH needed (word, object, held) AS (
       SELECT 'SELECT', name, has_table_privilege(to_regclass(name), 'SELECT')
         FROM unnest(ARRAY['execution', 'task']) AS name
       UNION ALL
       SELECT 'UPDATE (' || string_agg(name, ', ') || ')', 'execution', false
         FROM unnest($1::text[]) AS name
        WHERE NOT has_column_privilege(to_regclass('execution'), name, 'UPDATE') HAVING count(*) > 0
       UNION ALL
       SELECT 'USAGE', 'SCHEMA tally', has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'tally'
       UNION ALL
       SELECT word, c.oid::regclass::text, has_table_privilege(c.oid, word)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'tally'
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS word
        WHERE c.relkind = 'r' AND (c.relname <> 'migration' OR word = 'SELECT')
       UNION ALL
       SELECT 'EXECUTE', 'ALL FUNCTIONS IN SCHEMA tally', bool_and(has_function_privilege(p.oid, 'EXECUTE'))
         FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'tally'
        WHERE p.prorettype <> 'trigger'::regtype
     ), lacking AS (
       SELECT object, string_agg(word, ', ' ORDER BY word) AS words
         FROM needed WHERE NOT held GROUP BY object
     )
     SELECT words || ' ON ' || string_agg(object, ', ' ORDER BY object) AS missing
       FROM lacking GROUP BY words, object ~ ' ' ORDER BY 1`,
    [UPDATED_COLUMNS],
  );
  if (rows.length === 0) return ok('the role may do what a refresh does');
  const [user] = await database.query<{ name: string }>(`SELECT quote_ident(current_user) AS name`);
  return problem(
    `the role lacks ${rows.map(({ missing }) => missing).join(', ')}`,
    rows.map(({ missing }) => `GRANT ${missing} TO ${user?.name}`).join('; '),
  );
}

async function checkLockWaits(database: Database): Promise<Verdict> {
  const [waits] = await database.query<{ count: number; blockers: number[] | null }>(
    `SELECT count(DISTINCT w.pid) AS count, array_agg(DISTINCT blocker) AS blockers
       FROM (SELECT DISTINCT pid FROM pg_locks
              WHERE relation IN (to_regclass('execution'), to_regclass('task'), ${OUTBOX})) held
       JOIN pg_locks w ON w.pid = held.pid AND NOT w.granted
       LEFT JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker ON true`,
  );
  if (waits === undefined || waits.count === 0) return ok('nobody waits on these tables');
  const blockers = (waits.blockers ?? []).join(', ');
  return warning(
    `${waits.count} sessions wait for a lock on them, held by ${blockers || 'others'}`,
    `see what they do: SELECT * FROM pg_stat_activity WHERE pid IN (${blockers})`,
  );
}

// Every refresh runs the other triggers on `execution`, and each of them can make it fail.
async function checkForeignTriggers(database: Database): Promise<Verdict> {
  const rows = await database.query<{ name: string }>(
    `SELECT format('%s on %s (%s)', t.tgname, t.tgrelid::regclass, t.tgfoid::regproc) AS name FROM pg_trigger t
      WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
        AND t.tgrelid = to_regclass('execution') AND t.tgname NOT LIKE 'tally\\_%'
      ORDER BY t.tgname LIMIT 5`,
  );
  if (rows.length === 0) return ok('none on execution');
  return warning(
    `a refresh also runs ${rows.map(({ name }) => name).join(', ')}`,
    'if you know them, nothing; a trigger that raises an error fails the refresh',
  );
}

async function checkTaskStatuses(database: Database): Promise<Verdict> {
  const unknown = await findUnknownStatuses(database);
  if (unknown.length === 0) return ok('the rule knows those of the newest executions');
  const found = unknown.map(
    ({ status, tasks, vendor, executionId }) =>
      `${status} (${tasks} of ${vendor}, in execution ${executionId} for example)`,
  );
  return warning(
    `the rule doesn't know ${found.join(', ')}: such a task counts as if it weren't there, so that its execution ends too early or never`,
    'correct the statuses, or look for a version of Tally that knows them',
  );
}

const DISAGREEMENTS_BUDGET_MS = 2_000;
const DISAGREEMENTS_PAGE = 2_000;

async function checkDisagreements(database: Database): Promise<Verdict> {
  if (!(await seesHost((sql) => database.query(sql)))) return ok('no executions to look at');
  const endMs = performance.now() + DISAGREEMENTS_BUDGET_MS;
  let count = 0;
  let after: number | undefined = 0;
  do {
    const page: DisagreementPage = await readDisagreements(database, after, DISAGREEMENTS_PAGE);
    count += page.disagreements.length;
    after = page.last;
  } while (after !== undefined && performance.now() < endMs);
  const among = after === undefined ? '' : ` among executions 1 to ${after}, as far as 2 s went`;
  if (count === 0) return ok(`none${among}`);
  return warning(
    `${count} executions are stuck behind their tasks${among}, and nobody has asked for a refresh`,
    'see which: tally reconcile --dry-run. A producer repairs them; why they were stuck, docs/operations.md ("Disagreements") helps to find out',
  );
}
