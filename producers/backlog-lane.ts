import type { Redis } from 'ioredis';
import { readBacklogHead } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import {
  isAnyJobRunning,
  jobOfFirstSlot,
  offerBacklogJobs,
  type BacklogQueue,
} from '../shared/queue/backlog-queue.ts';

// Less than the pause of an idle relay, or it would look in every other turn only.
const LOOK_MS = 50;
// A job runs for about two seconds; one that is offered while its slot is taken follows at once.
const OFFER_MS = 1_000;
/** After this long without progress, the express lane takes the backlog's rows as well. */
const STANDSTILL_MS = 5_000;
// Jobs that may wait on the express lane while the backlog lane works: about a quarter of a second
// of work. More of a sudden burst would delay fresh changes and cost several times what it costs on
// the backlog lane.
const BURST_JOBS = 2_000;
// The same while the express lane drains the backlog: about a second of work, which is how long a
// fresh change then waits.
const STANDSTILL_JOBS = 5_000;

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly backlogQueue: BacklogQueue;
  readonly redis: Redis;
  readonly log: Logger;
}

/**
 * The backlog lane as a relay sees it: offers its jobs while there is a backlog, and notices when
 * it makes no progress, which is when its oldest row stays the same, so relays needn't coordinate.
 * If also no worker runs its jobs (none is there, all are of an older version, or the queue is
 * paused), a person has to know. Where one does, its batches take long or begin behind that row.
 */
export class BacklogLane {
  readonly #parts: Parts;
  readonly #cursor = new OutboxCursor();
  #nextLookMs = 0;
  #nextOfferMs = 0;
  #headId: number | undefined;
  #headSinceMs = 0;
  #standsStill = false;
  /** In the first slot. */
  #jobId: string | null | undefined;
  /** When a worker was last seen to run a job of the lane, or kept from it by an outage. */
  #runMs = 0;
  /** Whether it was said that no worker drains the backlog. */
  #saidSo = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Rows due for longer than this many milliseconds are left to backlog jobs. Undefined while those
   * make no progress.
   */
  get freshMs(): number | undefined {
    const { BACKLOG_AFTER_MS, BACKLOG_JOBS } = this.#parts.config;
    return BACKLOG_JOBS > 0 && !this.#standsStill ? BACKLOG_AFTER_MS : undefined;
  }

  /**
   * Jobs that may wait on the express lane before the relay leaves further rows to the backlog
   * lane.
   */
  get expressJobs(): number {
    if (this.#parts.config.BACKLOG_JOBS === 0) return Infinity;
    return this.#standsStill ? STANDSTILL_JOBS : BURST_JOBS;
  }

  /** Checks whether there is a backlog and whether it has moved. @throws an error from `pg` */
  async look(): Promise<void> {
    const nowMs = performance.now();
    if (this.#parts.config.BACKLOG_JOBS === 0 || nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + LOOK_MS;
    const { database, config } = this.#parts;
    const { head } = await this.#cursor.look(async (fromS) => {
      const found = await readBacklogHead(database, config.BACKLOG_AFTER_MS, fromS);
      return { head: found, lastS: found?.dueS, more: found !== undefined };
    });
    if (head?.rowId === this.#headId) return;
    this.#headId = head?.rowId;
    this.#headSinceMs = nowMs;
  }

  /** Starts to watch anew. Call it in an outage, when nobody can make progress. */
  forget(): void {
    this.#headId = undefined;
    this.#runMs = performance.now();
  }

  /** Offers jobs while there is a backlog. @throws an error from `ioredis` */
  async offer(): Promise<void> {
    const nowMs = performance.now();
    const isIdle = this.#headId === undefined && !this.#standsStill;
    if (isIdle || nowMs < this.#nextOfferMs) return;
    this.#nextOfferMs = nowMs + OFFER_MS;
    const { backlogQueue, config } = this.#parts;
    if (this.#headId !== undefined) await offerBacklogJobs(backlogQueue, config.BACKLOG_JOBS);
    await this.#lookForRuns(nowMs);
    if (this.#headId !== undefined && nowMs - this.#headSinceMs >= STANDSTILL_MS) {
      this.#standsStill = true;
    }
    if (this.#standsStill && !this.#saidSo && nowMs - this.#runMs >= STANDSTILL_MS) {
      this.#saidSo = true;
      this.#parts.log.warn(
        'no worker drains the backlog; its rows go through the express lane, which is slower. Is a worker of this version running? Is the queue "backlog" paused?',
      );
    }
  }

  async #lookForRuns(nowMs: number): Promise<void> {
    const { backlogQueue, redis, log } = this.#parts;
    const jobId = await jobOfFirstSlot(backlogQueue);
    // If the slot holds another job, a worker has finished the one before.
    const hasEnded = jobId !== this.#jobId;
    this.#jobId = jobId;
    if (hasEnded && this.#standsStill) {
      this.#standsStill = false;
      this.#headSinceMs = nowMs;
    }
    if (!hasEnded && !(await isAnyJobRunning(backlogQueue, redis))) return;
    this.#runMs = nowMs;
    if (this.#saidSo) log.info('workers drain the backlog again');
    this.#saidSo = false;
  }
}
