import type { Mutant } from './mutant.ts';

const QUEUE = 'shared/queue/refresh-queue.ts';
const BATCH = 'workers/refresh-batch.ts';
const BACKLOG_JOB = 'workers/backlog-job.ts';
const JOBS_TEST = 'test/integration/workers/jobs.test.ts';
const BATCH_TEST = 'test/unit/workers/refresh-batch.test.ts';
const BACKLOG_JOB_TEST = 'test/integration/workers/backlog-job.test.ts';

/** Of the queue and the workers of both lanes. */
export const WORKER_MUTANTS: readonly Mutant[] = [
  {
    name: 'drops a request that comes while its job runs',
    breaks: 'one more run for a change that arrives meanwhile',
    file: QUEUE,
    edits: [['deduplication: { id, keepLastIfActive: true }', 'deduplication: { id }']],
    test: [JOBS_TEST, '1,000 enqueues while it runs cause exactly one more run'],
  },
  {
    name: 'adds a job for each request',
    breaks: 'at most one job of an identity waits',
    file: QUEUE,
    edits: [['      deduplication: { id, keepLastIfActive: true },\n', '']],
    test: [JOBS_TEST, '1,000 enqueues while it waits make one job'],
  },
  {
    name: 'fails a whole batch for one bad execution',
    breaks: 'a bad execution harms only itself',
    file: BATCH,
    edits: [
      [
        'if (executionIds.length > 1) return refreshHalves',
        'if (executionIds.length < 0) return refreshHalves',
      ],
    ],
    test: [BATCH_TEST, 'among 500 fails alone'],
  },
  {
    name: 'takes an outage for the fault of an execution',
    breaks: 'an outage costs time, not attempts',
    file: 'workers/attempt.ts',
    edits: [
      [
        "    case 'unavailable':\n      return true;",
        "    case 'unavailable':\n      return false;",
      ],
    ],
    test: [BATCH_TEST, "takes the whole batch with it, unsplit, and isn't asked again"],
  },
  {
    name: 'blames an execution for a backend that was ended once',
    breaks: 'an outage costs time, not attempts',
    file: BATCH,
    edits: [['  connection: 3,', '  connection: 1,']],
    test: [BATCH_TEST, 'costs no attempt: a backend that was ended once'],
  },
  {
    name: 'settles executions that somebody holds without refreshing them',
    breaks: 'no lost refresh',
    file: 'workers/batcher.ts',
    edits: [["result.report.outcome === 'busy'", "result.report.outcome === 'missing'"]],
    test: [
      'test/unit/workers/batcher.test.ts',
      'are refreshed again alone, waiting, and only then',
    ],
  },
  {
    name: 'leaves executions that somebody holds at the head of the backlog',
    breaks: 'a bad execution harms only itself, in either lane',
    file: BACKLOG_JOB,
    edits: [['batch.result.flatMap(({ busyIds }) => busyIds)', 'batch.result.flatMap(() => [])']],
    test: [BACKLOG_JOB_TEST, 'executions that another transaction holds are handed'],
  },
  {
    name: 'leaves a batch that fails at the head of the backlog',
    breaks: 'a bad execution harms only itself, in either lane',
    file: BACKLOG_JOB,
    edits: [["if (batch.kind === 'done' && busy.length === 0)", 'if (busy.length === 0)']],
    test: [BACKLOG_JOB_TEST, 'a batch in which one execution fails is handed'],
  },
  {
    name: "keeps rows of the backlog marked as sent whose jobs Redis didn't take",
    breaks: 'an outage costs time, not attempts',
    file: BACKLOG_JOB,
    edits: [
      [
        '        rowIds.map((rowId) => ({ rowId, waitMs: 0 })),',
        '        rowIds.slice(0, 0).map((rowId) => ({ rowId, waitMs: 0 })),',
      ],
    ],
    test: [BACKLOG_JOB_TEST, "rows stay in the backlog if Redis doesn't take their jobs"],
  },
  {
    name: 'hands over to an express lane that is full',
    breaks: 'bounded memory of Redis',
    file: BACKLOG_JOB,
    edits: [['waiting.waiting + waiting.delayed >= 2 * config.QUEUE_HIGH_WATER', 'false']],
    test: [BACKLOG_JOB_TEST, 'rows stay in the backlog while the express lane is full'],
  },
  {
    name: 'resumes work while one of the stores is still unavailable',
    breaks: 'an outage costs time, not attempts',
    file: 'workers/pause-switch.ts',
    edits: [['    if (this.#holders.size > 0) return;\n', '']],
    test: [
      'test/unit/workers/pause-switch.test.ts',
      "a store that is available again doesn't resume the workers while the other one isn't",
    ],
  },
  {
    name: 'works in whatever isolation the role has by default',
    breaks: 'no lost refresh: one snapshot for all steps sees no change in between',
    file: 'shared/postgres/pinned.ts',
    edits: [['BEGIN ISOLATION LEVEL READ COMMITTED', 'BEGIN']],
    test: [
      'test/integration/shared/postgres/host.test.ts',
      'statements run in READ COMMITTED although',
    ],
  },
  {
    name: 'asks Redis for the heartbeat of each worker by itself',
    breaks: 'bounded work of Redis, however many workers there are',
    file: 'shared/queue/activity.ts',
    edits: [
      [
        'await redis.mget(names.map((name) => workerKey(config, name)))',
        'await Promise.all(names.map((name) => redis.get(workerKey(config, name))))',
      ],
    ],
    test: [
      'test/integration/dashboard/thousand-workers.test.ts',
      'ask Redis no more for a thousand workers than for one',
    ],
  },
];
