import type { Mutant } from './mutant.ts';

const REFRESH = 'shared/postgres/sql/refresh_executions.sql';
const BACKLOG = 'shared/postgres/sql/refresh_backlog.sql';
const CAPTURE = 'shared/postgres/sql/capture.sql';
const REFRESH_TEST = 'test/integration/sql/refresh-executions.test.ts';
const BACKLOG_TEST = 'test/integration/sql/refresh-backlog.test.ts';
const CAPTURE_TEST = 'test/integration/sql/capture.test.ts';
const HOST_WORD_TEST = 'test/integration/sql/host-word.test.ts';
const DELETION_TEST = 'test/integration/sql/deletion.test.ts';

/** Of the functions and triggers in Postgres. */
export const SQL_MUTANTS: readonly Mutant[] = [
  {
    name: 'aggregates before it locks and deletes',
    breaks: 'no lost refresh, never older over newer',
    file: REFRESH,
    edits: [
      ['    locked       bigint[];', '    rolled       jsonb;\n    locked       bigint[];'],
      [
        'BEGIN\n    IF wait THEN',
        'BEGIN\n    SELECT jsonb_agg(to_jsonb(r)) INTO rolled FROM tally.rollup(ids) r;\n    IF wait THEN',
      ],
      [
        'FROM tally.rollup(locked) r',
        `FROM jsonb_to_recordset(coalesce(rolled, '[]')) AS r (execution_id bigint, status text, end_time timestamp)`,
      ],
    ],
    tests: [REFRESH_TEST],
  },
  {
    name: 'deletes the rows after it has aggregated',
    breaks: 'no lost refresh',
    file: REFRESH,
    edits: [
      [
        'FROM tally.rollup(locked) r',
        `FROM jsonb_to_recordset(coalesce(rolled, '[]')) AS r (execution_id bigint, status text, end_time timestamp)`,
      ],
      ['    locked       bigint[];', '    rolled       jsonb;\n    locked       bigint[];'],
      [
        '    WITH deleted AS (',
        '    SELECT jsonb_agg(to_jsonb(r)) INTO rolled FROM tally.rollup(locked) r;\n    WITH deleted AS (',
      ],
    ],
    tests: [REFRESH_TEST],
  },
  {
    name: 'refreshes without locking executions that nobody waits for',
    breaks: 'one at a time',
    file: REFRESH,
    edits: [['ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED) l', 'ORDER BY e.id) l']],
    tests: [REFRESH_TEST, BACKLOG_TEST],
  },
  {
    name: 'refreshes without locking executions that it should wait for',
    breaks: 'never older over newer',
    file: REFRESH,
    edits: [['ORDER BY e.id FOR NO KEY UPDATE) l', 'ORDER BY e.id) l']],
    tests: [REFRESH_TEST],
  },
  {
    name: "locks executions so that the host can't insert tasks",
    breaks: "the host isn't harmed",
    file: REFRESH,
    edits: [['FOR NO KEY UPDATE SKIP LOCKED', 'FOR UPDATE SKIP LOCKED']],
    tests: [REFRESH_TEST],
  },
  {
    name: "deletes rows that aren't due yet",
    breaks: 'no lost refresh',
    file: REFRESH,
    edits: [['                  AND due.due_at <= clock_timestamp()\n', '']],
    tests: [REFRESH_TEST],
  },
  {
    name: 'deletes the rows of executions that somebody holds',
    breaks: 'no lost refresh',
    file: REFRESH,
    edits: [['                  AND due.execution_id <> ALL (busy)\n', '']],
    tests: [REFRESH_TEST],
  },
  {
    name: "overwrites the host's word",
    breaks: "the host's word stands",
    file: REFRESH,
    edits: [
      ['SELECT NOT only_finishes AND NOT coalesce(', 'SELECT NOT only_finishes AND coalesce(true,'],
    ],
    tests: [HOST_WORD_TEST],
  },
  {
    name: 'lets a deletion change a final status',
    breaks: "the host's word stands",
    file: REFRESH,
    edits: [['SELECT NOT only_finishes AND NOT coalesce(', 'SELECT NOT coalesce(']],
    tests: [DELETION_TEST, HOST_WORD_TEST],
  },
  {
    name: 'leaves the revision as it is',
    breaks: "the host isn't harmed: its own refresh tells other writers by it",
    file: REFRESH,
    edits: [['coalesce(e.revision, 0) + 1', 'coalesce(e.revision, 0)']],
    tests: [REFRESH_TEST],
  },
  {
    name: "doesn't notice that a refresh overtakes a failure",
    breaks: 'what failed for good is known, and goes away by itself',
    file: REFRESH,
    edits: [['SET refreshed = true', 'SET refreshed = f.refreshed']],
    tests: ['test/integration/workers/failed-janitor.test.ts'],
  },
  {
    name: 'counts a stopped task as more than a failed one',
    breaks: 'the rule',
    file: 'shared/postgres/sql/rollup.sql',
    edits: [
      [
        `WHEN bool_or(t.status = 'Error') THEN 'Error'\n           WHEN bool_or(t.status = 'Stopped') THEN 'Stopped'`,
        `WHEN bool_or(t.status = 'Stopped') THEN 'Stopped'\n           WHEN bool_or(t.status = 'Error') THEN 'Error'`,
      ],
    ],
    tests: [REFRESH_TEST],
  },
  {
    name: 'lets callers of the backlog lane wait for each other',
    breaks: 'fresh before old: a second worker adds nothing',
    file: BACKLOG,
    edits: [
      ['                       FOR UPDATE SKIP LOCKED) o', '                       FOR UPDATE) o'],
    ],
    tests: [BACKLOG_TEST],
  },
  {
    name: 'gives fresh rows to the backlog lane',
    breaks: 'fresh before old',
    file: BACKLOG,
    edits: [['                       AND due_at <= until\n', '']],
    tests: [BACKLOG_TEST],
  },
  {
    name: "doesn't capture the execution that a task has left",
    breaks: 'no lost refresh',
    file: CAPTURE,
    edits: [
      [
        'VALUES (o.execution_id, o.vendor_type), (n.execution_id, n.vendor_type)',
        'VALUES (n.execution_id, n.vendor_type)',
      ],
    ],
    tests: [CAPTURE_TEST],
  },
  {
    name: 'captures a deletion as if it were a change',
    breaks: "the host's word stands",
    file: CAPTURE,
    edits: [
      [
        `SELECT DISTINCT o.execution_id, tally.outbox_vendor(o.vendor_type), 'capture', true`,
        `SELECT DISTINCT o.execution_id, tally.outbox_vendor(o.vendor_type), 'capture', false`,
      ],
    ],
    tests: [CAPTURE_TEST, DELETION_TEST],
  },
];
