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
    test: [REFRESH_TEST, 'a change that is committed while its refresher waits for the lock'],
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
        '    due_rows := ARRAY(\n        SELECT due.id',
        '    SELECT jsonb_agg(to_jsonb(r)) INTO rolled FROM tally.rollup(locked) r;\n    due_rows := ARRAY(\n        SELECT due.id',
      ],
    ],
    test: [REFRESH_TEST, 'a change whose row is deleted is one that the tasks were read after'],
  },
  {
    name: 'refreshes without locking executions that nobody waits for',
    breaks: 'one at a time',
    file: REFRESH,
    edits: [['ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED) l', 'ORDER BY e.id) l']],
    test: [REFRESH_TEST, 'that another transaction has locked is reported busy at once'],
  },
  {
    name: 'refreshes without locking executions that it should wait for',
    breaks: 'never older over newer',
    file: REFRESH,
    edits: [['ORDER BY e.id FOR NO KEY UPDATE) l', 'ORDER BY e.id) l']],
    test: [REFRESH_TEST, 'a change that is committed while its refresher waits for the lock'],
  },
  {
    name: "locks executions so that the host can't insert tasks",
    breaks: "the host isn't harmed",
    file: REFRESH,
    edits: [['FOR NO KEY UPDATE SKIP LOCKED', 'FOR UPDATE SKIP LOCKED']],
    test: [REFRESH_TEST, "inserting a task isn't blocked by a refresh in progress"],
  },
  {
    name: "deletes rows that aren't due yet",
    breaks: 'no lost refresh',
    file: REFRESH,
    edits: [['           AND due.due_at <= clock_timestamp()\n', '']],
    test: [REFRESH_TEST, 'a refresh deletes the due rows of its executions'],
  },
  {
    name: 'deletes the rows of executions that somebody holds',
    breaks: 'no lost refresh',
    file: REFRESH,
    edits: [['           AND due.execution_id <> ALL (busy)\n', '']],
    test: [REFRESH_TEST, 'that another transaction has locked is reported busy at once'],
  },
  {
    name: "overwrites the host's word",
    breaks: "the host's word stands",
    file: REFRESH,
    edits: [
      ['SELECT NOT only_finishes AND NOT coalesce(', 'SELECT NOT only_finishes AND coalesce(true,'],
    ],
    test: [HOST_WORD_TEST, "isn't overwritten by the refresh of that change"],
  },
  {
    name: 'lets a deletion change a final status',
    breaks: "the host's word stands",
    file: REFRESH,
    edits: [['SELECT NOT only_finishes AND NOT coalesce(', 'SELECT NOT coalesce(']],
    test: [DELETION_TEST, 'as it is when it takes an unfinished task'],
  },
  {
    name: 'leaves the revision as it is',
    breaks: "the host isn't harmed: its own refresh tells other writers by it",
    file: REFRESH,
    edits: [['coalesce(e.revision, 0) + 1', 'coalesce(e.revision, 0)']],
    test: [REFRESH_TEST, 'a revision of NULL becomes 1'],
  },
  {
    name: "doesn't notice that a refresh overtakes a failure",
    breaks: 'what failed for good is known, and goes away by itself',
    file: REFRESH,
    edits: [['SET refreshed = true', 'SET refreshed = f.refreshed']],
    test: [
      'test/integration/workers/failed-janitor.test.ts',
      "isn't one that was recorded after the refresh had read the tasks",
    ],
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
    test: [REFRESH_TEST, '"Success","Stopped","Error"'],
  },
  {
    name: 'lets callers of the backlog lane wait for each other',
    breaks: 'fresh before old: a second worker adds nothing',
    file: BACKLOG,
    edits: [
      ['                       FOR UPDATE SKIP LOCKED) o', '                       FOR UPDATE) o'],
    ],
    test: [BACKLOG_TEST, 'lets two callers share the backlog'],
  },
  {
    name: 'gives fresh rows to the backlog lane',
    breaks: 'fresh before old',
    file: BACKLOG,
    edits: [['                       AND due_at <= until\n', '']],
    test: [BACKLOG_TEST, 'leaves rows that are fresh, not yet due, or sent'],
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
    test: [CAPTURE_TEST, 'when a task moves to another execution: both of them'],
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
    test: [DELETION_TEST, 'as it is when it takes an unfinished task'],
  },
];
