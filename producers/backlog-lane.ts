import { readBacklogHead } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import {
  jobOfFirstSlot,
  offerBacklogJobs,
  type BacklogQueue,
} from '../shared/queue/backlog-queue.ts';

const LOOK_MS = 250;
// A job lasts about two seconds, and one that is asked for while its slot runs follows at once.
const OFFER_MS = 1_000;
/** After so long without progress the express lane takes the backlog's rows, too. */
const STANDSTILL_MS = 5_000;
// Jobs that may wait on the express lane while the backlog lane works: about a quarter of a second of work. More of a
// sudden burst would only delay fresh changes, and costs several times as much there as on the backlog lane.
const BURST_JOBS = 2_000;
// While the express lane drains the backlog: about a second of work, which is what a fresh change then waits for.
const STANDSTILL_JOBS = 5_000;

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly backlogQueue: BacklogQueue;
  readonly log: Logger;
}

/**
 * The backlog lane as a relay sees it: asks for its jobs while there is a backlog, and notices when no worker does
 * them (none runs, all are of an older version, the queue is paused). The lane makes progress if its oldest row has
 * changed; processes need not agree on anything for that.
 */
export class BacklogLane {
  readonly #parts: Parts;
  readonly #cursor = new OutboxCursor();
  #nextLookMs = 0;
  #nextOfferMs = 0;
  #headId: number | undefined;
  #headSinceMs = 0;
  /** Set while the lane stands still: the job that waited in its first slot at the beginning. */
  #standstill: { readonly jobId: string | null } | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get standsStill(): boolean {
    return this.#standstill !== undefined;
  }

  /** The age in milliseconds from which rows are left to the backlog's jobs; undefined: no worker does these. */
  get freshMs(): number | undefined {
    const { BACKLOG_AFTER_MS, BACKLOG_JOBS } = this.#parts.config;
    return BACKLOG_JOBS > 0 && !this.standsStill ? BACKLOG_AFTER_MS : undefined;
  }

  /** How many jobs may wait on the express lane before the relay leaves further rows to the backlog lane. */
  get expressJobs(): number {
    if (this.#parts.config.BACKLOG_JOBS === 0) return Infinity;
    return this.standsStill ? STANDSTILL_JOBS : BURST_JOBS;
  }

  /** Checks whether there is a backlog and whether it has moved. @throws the error of `pg` */
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

  /** To be called in an outage, during which nobody can make progress. */
  forget(): void {
    this.#headId = undefined;
  }

  /** Asks for jobs while there is a backlog. @throws the error of ioredis */
  async offer(): Promise<void> {
    const nowMs = performance.now();
    const isIdle = this.#headId === undefined && this.#standstill === undefined;
    if (isIdle || nowMs < this.#nextOfferMs) return;
    this.#nextOfferMs = nowMs + OFFER_MS;
    const { backlogQueue, config, log } = this.#parts;
    if (this.#headId !== undefined) await offerBacklogJobs(backlogQueue, config.BACKLOG_JOBS);
    if (this.#standstill !== undefined) {
      // A worker has done it if another one has taken its place.
      const jobId = await jobOfFirstSlot(backlogQueue);
      if (jobId === this.#standstill.jobId) return;
      this.#standstill = undefined;
      this.#headSinceMs = nowMs;
      log.info('workers drain the backlog again');
    } else if (this.#headId !== undefined && nowMs - this.#headSinceMs >= STANDSTILL_MS) {
      this.#standstill = { jobId: await jobOfFirstSlot(backlogQueue) };
      log.warn(
        'no worker drains the backlog; its rows go through the express lane, which is slower. Does a worker run, of this version? Is the queue "backlog" paused?',
      );
    }
  }
}
