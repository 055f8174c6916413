import type { Mutant } from './mutant.ts';

const RELAY_TEST = 'test/integration/producers/relay.test.ts';
const REDIS_AWAY_TEST = 'test/faults/redis-away.test.ts';
const JOBS_TEST = 'test/integration/workers/jobs.test.ts';
const BATCH_TEST = 'test/unit/workers/refresh-batch.test.ts';
const FLUSHED_TEST = 'test/faults/failed-then-flushed.test.ts';
const RETRY_KILLED_TEST = 'test/faults/retry-killed.test.ts';
const INTAKE_KILLED_TEST = 'test/faults/marker-intake-killed.test.ts';

/** Of what runs in the processes. */
export const CODE_MUTANTS: readonly Mutant[] = [
  {
    name: 'claims rows that another relay holds',
    breaks: 'any number of producers',
    file: 'producers/outbox-claims.ts',
    edits: [
      ['             LIMIT $1\n               FOR UPDATE SKIP LOCKED))', '             LIMIT $1))'],
    ],
    tests: ['test/integration/producers/outbox-claims.test.ts', RELAY_TEST],
  },
  {
    name: "keeps rows that Redis didn't take marked as sent",
    breaks: 'an outage costs time, not jobs',
    file: 'producers/outbox-relay.ts',
    edits: [['      await undo?.();\n', '']],
    tests: [REDIS_AWAY_TEST, RELAY_TEST],
  },
  {
    name: 'says that Redis has everything before it is sent again',
    breaks: 'no lost refresh',
    file: 'producers/outbox-resends.ts',
    edits: [['`${MARKER_WHILE_RESENDING}${walk.toS}`', 'MARKER']],
    tests: ['test/integration/producers/outbox-resends.test.ts'],
  },
  {
    name: 'forgets rows that were sent after the attempt began',
    breaks: 'no lost refresh',
    file: 'shared/postgres/failures.ts',
    edits: [
      [`AND sent_at < clock_timestamp() - $7 * interval '1 millisecond'`, 'AND $7 IS NOT NULL'],
    ],
    tests: [FLUSHED_TEST, 'test/integration/shared/postgres/failures.test.ts'],
  },
  {
    name: "doesn't record what failed for good",
    breaks: 'what failed for good is known',
    file: 'workers/failed-for-good.ts',
    edits: [['    await recordFailure(parts.database, {', '    await Promise.resolve({']],
    tests: [FLUSHED_TEST],
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
    tests: [RETRY_KILLED_TEST],
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
    tests: [RETRY_KILLED_TEST],
  },
  {
    name: 'drops a request that comes while its job runs',
    breaks: 'one more run for a change that arrives meanwhile',
    file: 'shared/queue/refresh-queue.ts',
    edits: [['deduplication: { id, keepLastIfActive: true }', 'deduplication: { id }']],
    tests: [JOBS_TEST, 'test/faults/duplicate-storm.test.ts'],
  },
  {
    name: 'adds a job for each request',
    breaks: 'at most one job of an identity waits',
    file: 'shared/queue/refresh-queue.ts',
    edits: [['      deduplication: { id, keepLastIfActive: true },\n', '']],
    tests: [JOBS_TEST],
  },
  {
    name: 'fails a whole batch for one bad execution',
    breaks: 'a bad execution harms only itself',
    file: 'workers/refresh-batch.ts',
    edits: [
      [
        'if (executionIds.length > 1) return refreshHalves',
        'if (executionIds.length < 0) return refreshHalves',
      ],
    ],
    tests: [BATCH_TEST],
  },
  {
    name: 'takes an outage for the fault of an execution',
    breaks: 'an outage costs time, not jobs',
    file: 'workers/attempt.ts',
    edits: [
      [
        "    case 'unavailable':\n      return true;",
        "    case 'unavailable':\n      return false;",
      ],
    ],
    tests: [BATCH_TEST],
  },
  {
    name: 'blames an execution for a backend that was ended once',
    breaks: 'an outage costs time, not jobs',
    file: 'workers/refresh-batch.ts',
    edits: [['  connection: 3,', '  connection: 1,']],
    tests: [BATCH_TEST, 'test/faults/connection-lost.test.ts'],
  },
  {
    name: 'takes back a final status in a pass of the reconciler',
    breaks: 'the reconciler never turns final into running',
    file: 'shared/postgres/disagreements.ts',
    edits: [['const STUCK = `r.status IN ${FINAL}\n  AND (', 'const STUCK = `(true OR ']],
    tests: [
      'test/integration/producers/reconciler.test.ts',
      'test/integration/cli/commands/reconcile.test.ts',
    ],
  },
  {
    name: 'removes marker keys before their rows are committed',
    breaks: 'no lost refresh',
    file: 'shared/harbor/transfer.ts',
    edits: [
      [
        '    await this.#record(session, identities);\n    // A process',
        '    await remove(names);\n    await this.#record(session, identities);\n    // A process',
      ],
    ],
    tests: [INTAKE_KILLED_TEST],
  },
  {
    name: 'removes exported rows before their markers are written',
    breaks: 'no lost refresh',
    file: 'shared/harbor/export.ts',
    edits: [
      [
        "    await writeMarkers(harbor, format, rows);\n    await session.query('DELETE FROM tally.outbox WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);",
        "    await session.query('DELETE FROM tally.outbox WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);\n    await writeMarkers(harbor, format, rows);",
      ],
    ],
    tests: [
      'test/faults/harbor-export-killed.test.ts',
      'test/integration/cli/commands/harbor.test.ts',
    ],
  },
];
