import { loadConfig } from '../shared/process/config.ts';
import { enqueueRefreshes, openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import type { QueueAccess } from '../shared/queue/failed-jobs.ts';
import { createFailedJobs } from '../test/support/failed-jobs.ts';
import { identityPages } from './data.ts';
import { QUEUE_PREFIX } from './processes.ts';
import { progress } from './report.ts';
import type { Arena } from './servers.ts';

const CHUNK = 10_000;

export interface Load {
  /** The first executions have failed for good; the next ones wait. */
  readonly failed: number;
  readonly waiting: number;
}

/**
 * Makes fresh data into that of a bad day: most executions are as their tasks say, many have failed
 * for good, for several causes, and many wait, on the queue, which is paused, and as many in the
 * outbox alone.
 */
export async function loadBadDay(
  arena: Arena,
  { failed, waiting }: Load,
): Promise<QueueAccess & { readonly close: () => Promise<void> }> {
  const { database, redis } = arena;
  const config = loadConfig(['DATABASE_URL', 'REDIS_URL'], {
    DATABASE_URL: arena.databaseUrl,
    REDIS_URL: arena.redisUrl,
    QUEUE_PREFIX,
  });
  const queue = openRefreshQueue(config, redis);
  await queue.pause();
  progress('storing what the tasks say');
  for (let from = failed + waiting; from < arena.executions; from += 5 * CHUNK) {
    await database.query(
      `UPDATE execution e SET status = r.status, end_time = r.end_time, revision = 1, update_time = r.end_time
         FROM tally.rollup(ARRAY(SELECT generate_series($1::bigint, $2::bigint))) r
        WHERE e.id = r.execution_id AND e.id = ANY (ARRAY(SELECT generate_series($1::bigint, $2::bigint)))`,
      [from + 1, Math.min(arena.executions, from + 5 * CHUNK)],
    );
  }
  progress(`${failed} failures and ${waiting} waiting`);
  const identities = [];
  for await (const page of identityPages(database)) {
    identities.push(...page);
    if (identities.length >= failed + waiting) break;
  }
  for (let from = 0; from < failed; from += CHUNK) {
    await createFailedJobs(
      { queue, redis },
      identities.slice(from, Math.min(failed, from + CHUNK)).map((identity, n) => ({
        jobId: `${identity.executionId}:${identity.vendor}:bench`,
        data: identity,
        error: errorOf(identity.executionId),
        failedAtMs: Date.now() - 60_000 + n,
      })),
    );
  }
  await database.query(
    `INSERT INTO tally.failure (job_id, execution_id, vendor, error, sqlstate, attempts)
     SELECT e.id || ':' || e.vendor_type || ':bench', e.id, e.vendor_type, x.error, 'P0001', 5
       FROM unnest($1::bigint[], $2::text[]) AS x (id, error) JOIN execution e ON e.id = x.id`,
    [
      identities.slice(0, failed).map(({ executionId }) => executionId),
      identities.slice(0, failed).map(({ executionId }) => errorOf(executionId)),
    ],
  );
  await enqueueRefreshes(queue, identities.slice(failed, failed + waiting));
  for (const sentAt of ['clock_timestamp()', 'NULL']) {
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, sent_at)
       SELECT id, vendor_type, 'capture', ${sentAt} FROM execution WHERE id > $1 AND id <= $2`,
      [failed, failed + waiting],
    );
  }
  await database.query('ANALYZE');
  return { queue, redis, close: () => queue.close() };
}

// A dozen causes, each with an example of its own in the text.
function errorOf(executionId: number): string {
  const cause = executionId % 12;
  return cause < 6
    ? `quota of project ${executionId} is used up, rule ${'abcdef'[cause]}`
    : `new row for relation "execution" violates check constraint "rule_${cause}"`;
}
