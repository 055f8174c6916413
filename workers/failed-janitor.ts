import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import {
  FAILED_PAGE,
  findJobs,
  removeFailed,
  type FailedJobs,
} from '../shared/queue/failed-jobs.ts';
import type { Logger } from '../shared/process/logger.ts';
import type { JanitorMetrics } from '../shared/process/metrics.ts';
import { Outage } from '../shared/process/outage.ts';
import { pause } from '../shared/process/wait.ts';

// An operator sees a failed job that is overtaken for about this long. A pass that finds nothing costs three
// statements and three commands.
const INTERVAL_MS = 10_000;
// How often each worker asks whether it is its turn.
const ASK_MS = 5_000;
// A job is noted a moment before it fails, or much earlier when Redis goes away in between.
const NOTE_AGE_MINUTES = 10;
// Of 50,000 notes, each is compared with the queue within two minutes.
const COMPARED_PAGES = 10;

interface Parts extends FailedJobs {
  readonly config: Config;
  readonly database: Database;
  readonly metrics: JanitorMetrics;
  readonly log: Logger;
}

/**
 * Keeps the failed jobs to those that need a person. About every 10 s one of the workers makes a pass; the row
 * `tally.failed_janitor` says whose turn it is. Each page is a few short statements and commands; no
 * transaction is open while Redis is asked.
 */
export class FailedJanitor {
  readonly #parts: Parts;
  readonly #outage: Outage;
  readonly #stop = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#outage = new Outage(parts.log, 'the failed-janitor');
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Finishes the page in hand. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        // The worker's own connection says that Redis is away; until it is back there is nothing to do.
        if (this.#parts.redis.status === 'ready' && (await takeTurn(this.#parts.database))) {
          await clearUpFailed(this.#parts, signal);
          this.#outage.end();
        }
      } catch (error) {
        this.#outage.begin(error);
      }
      await pause(ASK_MS, signal);
    }
  }
}

/** True for one worker only, and not before the interval after the last sign of a pass is over. */
async function takeTurn(database: Database): Promise<boolean> {
  const turns = await database.query(
    `UPDATE tally.failed_janitor SET active_at = clock_timestamp()
      WHERE active_at <= clock_timestamp() - $1 * interval '1 millisecond'
     RETURNING 1`,
    [INTERVAL_MS],
  );
  return turns.length > 0;
}

/**
 * One pass:
 *
 * 1. Failed jobs whose execution was refreshed since are removed, then their notes in `tally.failure`.
 * 2. Failed jobs that are older than `FAILED_KEEP_HOURS` or beyond `FAILED_KEEP_COUNT` are removed, oldest first.
 *    (BullMQ would look at the age only when another job fails, and removes what is too many at once.)
 * 3. Notes whose job is gone (removed by hand or by age, or Redis was emptied) are deleted: with a note, the
 *    reconciler leaves the execution to a person who has nothing to look at.
 *
 * Every step may be repeated or run by two workers at once, so a crash at any point costs nothing:
 *
 * - between removing jobs and deleting their notes: the next pass finds the jobs gone and deletes the notes;
 * - between 2 and 3: the notes are deleted ten minutes after the failure or later, by some pass;
 * - between deleting a page of notes and storing how far it came: the page is read again;
 * - of a worker between noting a failure and failing the job: the job is on the queue, "elsewhere", and its
 *   note stays until the job is gone; when it fails, it is noted again.
 *
 * A job is removed only by the note of a refresh that began after the failure was noted, so a failure
 * that comes later is never taken away with it. When Redis doesn't answer, the pass ends with an error and no note is
 * deleted: only an answer that there is no such job counts.
 * @throws the error of `pg` or ioredis
 */
export async function clearUpFailed(parts: Parts, signal: AbortSignal): Promise<void> {
  const refreshed = await removeRefreshed(parts, signal);
  if (refreshed > 0) {
    parts.log.info(`removed ${refreshed} failed jobs whose executions were refreshed since`);
  }
  const expired = await removeExpired(parts, signal);
  if (expired > 0) {
    parts.log.warn(
      `removed ${expired} failed jobs that were older than FAILED_KEEP_HOURS or more than FAILED_KEEP_COUNT`,
    );
  }
  await deleteLostNotes(parts, signal);
}

async function removeRefreshed(parts: Parts, signal: AbortSignal): Promise<number> {
  const { database, metrics } = parts;
  let total = 0;
  for (let after: string | undefined = ''; after !== undefined && !signal.aborted;) {
    const rows: { id: string }[] = await database.query<{ id: string }>(
      `SELECT job_id AS id FROM tally.failure WHERE refreshed AND job_id > $1 ORDER BY job_id LIMIT $2`,
      [after, FAILED_PAGE],
    );
    if (rows.length === 0) break;
    const jobIds = rows.map(({ id }) => id);
    const removed = await removeFailed(parts, jobIds);
    total += removed;
    metrics.failedRemoved.inc({ reason: 'refreshed' }, removed);
    const places = await findJobs(parts, jobIds);
    // One that was noted and then saved by another refresh may be about to fail: its note stays.
    await database.query('DELETE FROM tally.failure WHERE refreshed AND job_id = ANY ($1)', [
      jobIds.filter((_id, index) => places[index] === 'gone'),
    ]);
    await stillAtIt(database);
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

async function deleteLostNotes(parts: Parts, signal: AbortSignal): Promise<void> {
  const { database } = parts;
  for (let page = 0; page < COMPARED_PAGES && !signal.aborted; page++) {
    const rows = await database.query<{ id: string }>(
      `SELECT f.job_id AS id FROM tally.failure f
        WHERE f.job_id > (SELECT checked_to FROM tally.failed_janitor)
          AND f.failed_at < clock_timestamp() - $1 * interval '1 minute'
        ORDER BY f.job_id LIMIT $2`,
      [NOTE_AGE_MINUTES, FAILED_PAGE],
    );
    const jobIds = rows.map(({ id }) => id);
    const places = await findJobs(parts, jobIds);
    const lost = jobIds.filter((_id, index) => places[index] === 'gone');
    if (lost.length > 0) {
      await database.query('DELETE FROM tally.failure WHERE job_id = ANY ($1)', [lost]);
    }
    const next = nextPage(jobIds);
    await stillAtIt(database, next ?? '');
    if (next === undefined) return;
  }
}

/** Where the next page begins; undefined: this one was the last. */
function nextPage(jobIds: readonly string[]): string | undefined {
  return jobIds.length < FAILED_PAGE ? undefined : jobIds.at(-1);
}

async function stillAtIt(database: Database, checkedTo?: string): Promise<void> {
  await database.query(
    `UPDATE tally.failed_janitor
        SET active_at = clock_timestamp(), checked_to = coalesce($1, checked_to)`,
    [checkedTo ?? null],
  );
}
