import type { Mutant } from './mutant.ts';

const RECORDS = 'shared/postgres/failures.ts';
const FOR_GOOD = 'workers/failed-for-good.ts';
const JANITOR = 'workers/failed-janitor.ts';
const RECORDS_TEST = 'test/integration/shared/postgres/failures.test.ts';
const JANITOR_TEST = 'test/integration/workers/failed-janitor.test.ts';
const JOB_TEST = 'test/unit/workers/refresh-job.test.ts';
const RETRY_KILLED_TEST = 'test/faults/retry-killed.test.ts';

/** Of the record of what failed for good, and of its retries. */
export const FAILURE_MUTANTS: readonly Mutant[] = [
  {
    name: 'forgets all rows of an execution when its failure is recorded',
    breaks: 'no lost refresh',
    file: RECORDS,
    edits: [
      [
        `AND sent_at < clock_timestamp() - $7 * interval '1 millisecond'`,
        'AND $7::double precision IS NOT NULL',
      ],
    ],
    test: [RECORDS_TEST, 'a recorded failure deletes the rows that its job was sent for'],
  },
  {
    name: 'waits for a refresh that waits for the record',
    breaks: 'no lost refresh: a deadlock costs attempts',
    file: RECORDS,
    edits: [['                 FOR UPDATE SKIP LOCKED))', '                 FOR UPDATE))']],
    test: [
      RECORDS_TEST,
      'a failure is recorded while a refresh of the same execution has its rows',
    ],
  },
  {
    name: "doesn't record what failed for good",
    breaks: 'what failed for good is known',
    file: FOR_GOOD,
    edits: [['    await recordFailure(parts.database, {', '    await Promise.resolve({']],
    test: [JOB_TEST, 'with its last attempt it fails for good, once that is recorded'],
  },
  {
    name: 'fails a job for good whose failure could not be recorded in an outage',
    breaks: 'what failed for good is known',
    file: FOR_GOOD,
    edits: [["if (kind !== 'execution') {", "if (kind === 'contention') {"]],
    test: [JOB_TEST, "a failure that can't be recorded now gives the job back"],
  },
  {
    name: 'leaves failed jobs of older versions without a record',
    breaks: 'what failed for good is known',
    file: JANITOR,
    edits: [['await recordUnrecorded(parts, signal);', 'await Promise.resolve(0);']],
    test: [JANITOR_TEST, 'of an older version is recorded, one an execution'],
  },
  {
    name: 'deletes the record of a job that is on the queue again',
    breaks: 'what failed for good is known',
    file: JANITOR,
    edits: [["filter((_id, index) => places[index] === 'gone')", 'slice()']],
    test: [JANITOR_TEST, 'that is on the queue again stays there, with its record'],
  },
  {
    name: 'removes a failed job before it is enqueued again',
    breaks: 'no lost refresh',
    file: 'shared/queue/refresh-queue.ts',
    edits: [
      [
        '  await enqueueRefreshes(queue, [readPayload(job.data)]);\n  await job.remove();',
        '  await job.remove();\n  await enqueueRefreshes(queue, [readPayload(job.data)]);',
      ],
    ],
    test: [RETRY_KILLED_TEST, 'a retry of one failed job leaves it failed or waiting'],
  },
  {
    name: 'removes failed jobs in bulk before they are enqueued again',
    breaks: 'no lost refresh',
    file: 'shared/failures/bulk-retry.ts',
    edits: [
      [
        '      await enqueueRefreshes(stores.queue, [...fresh.values()]);\n      await removing;',
        '      await removeFailed(stores, jobIds);\n      await enqueueRefreshes(stores.queue, [...fresh.values()]);',
      ],
    ],
    test: [RETRY_KILLED_TEST, 'a bulk retry leaves each failed or waiting'],
  },
];
