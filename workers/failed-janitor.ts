import type { Config } from '../shared/process/config.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Database } from '../shared/postgres/database.ts';
import { adoptFailures, recordedJobs } from '../shared/postgres/failures.ts';
import { Turns } from '../shared/postgres/lease.ts';
import { settleFailures, type SettledPage } from '../shared/postgres/settled-failures.ts';
import {
  FAILED_PAGE,
  failedPages,
  locateJobs,
  readFailedJobs,
  removeFailed,
  type QueueAccess,
} from '../shared/queue/failed-jobs.ts';
import type { Logger } from '../shared/process/logger.ts';
import { startLoop, type Loop } from '../shared/process/loop.ts';
import type { JanitorMetrics } from '../shared/process/metrics.ts';
import { Outage } from '../shared/process/outage.ts';

// An operator sees an obsolete failed job for about this long. A pass that finds nothing costs
// about five statements and four commands.
const INTERVAL_MS = 10_000;
// How often each worker asks for its turn.
const ASK_MS = 5_000;
// Failed jobs examined per pass, in pages. Of 50,000, each comes by within two minutes.
const COMPARED_PAGES = 5;
// Records per statement that are compared with their executions: it reads all of their tasks.
const SETTLED_PAGE = 100;
// How long a pass compares. Of 50,000 records with ten tasks each, every one comes by within a
// minute; executions of 10,000 tasks take longer, never more of the database.
const SETTLING_MS = 1_000;

interface Parts extends QueueAccess {
  readonly config: Config;
  readonly database: Database;
  readonly turns: Turns;
  readonly metrics: JanitorMetrics;
  readonly log: Logger;
}

/**
 * Starts the loop that keeps only the failed jobs that need a person. About every 10 s, the worker
 * that gets the turn makes one pass, page by page, in short statements and commands; no transaction
 * is open while Redis is asked. Closing the loop finishes the page in hand.
 */
export function startFailedJanitor(parts: Omit<Parts, 'turns'>): Loop {
  const { database, redis, log } = parts;
  const turns = new Turns(database, 'failed-janitor', INTERVAL_MS);
  return startLoop({
    outage: new Outage(log, 'the failed-janitor', explainDatabaseError),
    step: async (signal) => {
      // The worker's own connection logs that Redis is unavailable.
      if (redis.status !== 'ready' || !(await turns.take())) return { idleMs: ASK_MS };
      await clearUpFailed({ ...parts, turns }, signal);
      return ASK_MS;
    },
  });
}

/**
 * Makes one pass:
 *
 * 1. Records become obsolete for which a refresh has nothing left to do: the host itself stored what
 *    the tasks say, for example, or the execution was deleted.
 * 2. Failed jobs whose record is obsolete, because of that or because their execution was refreshed
 *    or failed again since, are removed, and then their records.
 * 3. Failed jobs older than `FAILED_KEEP_HOURS` or beyond `FAILED_KEEP_COUNT` are removed, oldest
 *    first. (BullMQ checks the age only when another job fails, and removes all that are too many
 *    at once.) Their records stay, so that nobody forgets that an execution is wrong.
 * 4. Failed jobs without a record get one: those of older versions, and those that failed while
 *    none could be written.
 *
 * Every step can be repeated, and run by two workers at once, so a crash costs nothing:
 *
 * - between removing jobs and deleting their records: the next pass finds the jobs gone and deletes
 *   the records;
 * - between finding a job without a record and recording it: a later pass comes by again;
 * - between a page of records and storing the position: the page is read again;
 * - of a worker between recording a failure and failing the job: the job is still running, so its
 *   record stays; when the job fails, it is recorded again.
 *
 * Only a refresh that began after a failure was recorded, or tasks that were read after it, make
 * that failure obsolete, so a later failure is never removed with it. If Redis doesn't answer, the pass ends with an error and
 * deletes no record: only the answer that a job doesn't exist counts.
 * @throws an error from `pg` or `ioredis`
 */
export async function clearUpFailed(parts: Parts, signal: AbortSignal): Promise<void> {
  const settled = await settle(parts, signal);
  if (settled > 0) {
    parts.log.info(`${settled} failures need nobody any more: a refresh would change nothing`);
  }
  const removed = await removeOvertaken(parts, signal);
  if (removed.refreshed > 0) {
    parts.log.info(
      `removed ${removed.refreshed} failed jobs whose executions were refreshed since`,
    );
  }
  if (removed.superseded > 0) {
    parts.log.info(`removed ${removed.superseded} failed jobs whose executions failed again since`);
  }
  const expired = await removeExpired(parts, signal);
  if (expired > 0) {
    parts.log.warn(
      `removed ${expired} failed jobs that were older than FAILED_KEEP_HOURS or more than FAILED_KEEP_COUNT; tally failed still shows those of executions that were not refreshed since`,
    );
  }
  const adopted = await recordUnrecorded(parts, signal);
  if (adopted > 0) parts.log.info(`recorded ${adopted} failed jobs that had no record`);
}

async function settle(parts: Parts, signal: AbortSignal): Promise<number> {
  const { database } = parts;
  const [at] = await database.query<{ after: string }>(
    'SELECT compared_to AS after FROM tally.failed_janitor',
  );
  const untilMs = performance.now() + SETTLING_MS;
  let total = 0;
  for (let after = at?.after; after !== undefined && !signal.aborted;) {
    const page: SettledPage = await settleFailures(database, after, SETTLED_PAGE);
    total += page.settled;
    await showProgress(parts, { comparedTo: page.next ?? '' });
    if (performance.now() > untilMs) break;
    after = page.next;
  }
  return total;
}

interface Removed {
  refreshed: number;
  superseded: number;
}

async function removeOvertaken(parts: Parts, signal: AbortSignal): Promise<Removed> {
  const { database, turns, metrics } = parts;
  const total: Removed = { refreshed: 0, superseded: 0 };
  for (let after: string | undefined = ''; after !== undefined && !signal.aborted;) {
    const rows: { id: string; refreshed: boolean }[] = await database.query(
      `SELECT job_id AS id, refreshed FROM tally.failure
        WHERE (refreshed OR superseded) AND job_id > $1 ORDER BY job_id LIMIT $2`,
      [after, FAILED_PAGE],
    );
    if (rows.length === 0) break;
    for (const reason of ['refreshed', 'superseded'] as const) {
      const jobIds = rows
        .filter(({ refreshed }) => refreshed === (reason === 'refreshed'))
        .map(({ id }) => id);
      const removed = await removeFailed(parts, jobIds);
      total[reason] += removed;
      metrics.failedRemoved.inc({ reason }, removed);
    }
    const jobIds = rows.map(({ id }) => id);
    const places = await locateJobs(parts, jobIds);
    // A job whose record became obsolete before BullMQ moved it may be about to fail: its record
    // stays.
    await database.query(
      'DELETE FROM tally.failure WHERE (refreshed OR superseded) AND job_id = ANY ($1)',
      [jobIds.filter((_id, index) => places[index] === 'gone')],
    );
    await turns.prolong();
    after = nextPage(jobIds);
  }
  return total;
}

async function removeExpired(
  { config, queue, redis, metrics }: Parts,
  signal: AbortSignal,
): Promise<number> {
  let total = 0;
  const remove = async (olderThanMs: number, limit: number): Promise<number> => {
    const { length } = await queue.clean(olderThanMs, limit, 'failed');
    total += length;
    metrics.failedRemoved.inc({ reason: 'retention' }, length);
    return length;
  };
  const keepMs = config.FAILED_KEEP_HOURS * 3_600_000;
  while (!signal.aborted && (await remove(keepMs, FAILED_PAGE)) === FAILED_PAGE);
  while (!signal.aborted) {
    const tooMany = (await redis.zcard(queue.toKey('failed'))) - config.FAILED_KEEP_COUNT;
    if (tooMany <= 0 || (await remove(0, Math.min(tooMany, FAILED_PAGE))) === 0) break;
  }
  return total;
}

async function recordUnrecorded(parts: Parts, signal: AbortSignal): Promise<number> {
  const { database } = parts;
  const [at] = await database.query<{ cursor: string }>(
    'SELECT checked_to AS cursor FROM tally.failed_janitor',
  );
  let total = 0;
  let pages = 0;
  // Older versions stored a job id here.
  for await (const page of failedPages(parts, /^\d+$/.test(at?.cursor ?? '') ? at?.cursor : '0')) {
    const recorded = await recordedJobs(
      database,
      page.entries.map(({ jobId }) => jobId),
    );
    const jobs = await readFailedJobs(
      parts,
      page.entries.filter(({ jobId }) => !recorded.has(jobId)),
    );
    const unrecorded = jobs.flatMap(({ identity, ...job }) =>
      identity === undefined ? [] : [{ ...job, ...identity }],
    );
    // Located after the records were read: a job is removed before its record, so one that still
    // exists never had any.
    const places = await locateJobs(
      parts,
      unrecorded.map(({ jobId }) => jobId),
    );
    total += await adoptFailures(
      database,
      unrecorded.filter((_job, index) => places[index] === 'failed'),
    );
    await showProgress(parts, { checkedTo: page.cursor });
    if (++pages === COMPARED_PAGES || signal.aborted) break;
  }
  return total;
}

/** Where the next page begins; undefined after the last page. */
function nextPage(jobIds: readonly string[]): string | undefined {
  return jobIds.length < FAILED_PAGE ? undefined : jobIds.at(-1);
}

/** Stores how far the pass has come, and that it is still running. */
async function showProgress(
  { database, turns }: Parts,
  { checkedTo, comparedTo }: { readonly checkedTo?: string; readonly comparedTo?: string },
): Promise<void> {
  await database.query(
    `UPDATE tally.failed_janitor
        SET checked_to = coalesce($1, checked_to), compared_to = coalesce($2, compared_to)`,
    [checkedTo ?? null, comparedTo ?? null],
  );
  await turns.prolong();
}
