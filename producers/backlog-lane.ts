import { readBacklogHead } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import { newestDrain, offerBacklogJobs, type BacklogQueue } from '../shared/queue/backlog-queue.ts';

const LOOK_MS = 250;
// A job lasts about two seconds, and one that is asked for while its slot runs follows at once.
const OFFER_MS = 1_000;
/** After so long without progress the express lane takes the backlog's rows, too. */
const STANDSTILL_MS = 5_000;

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly backlogQueue: BacklogQueue;
  readonly log: Logger;
}

/**
 * The backlog lane as a relay sees it: asks for its jobs while there is a backlog, and tells when nobody does them
 * (workers of an older version, a queue that is paused, `BACKLOG_JOBS=0`). The lane gets on when the oldest row of the
 * backlog is another one than before; nothing needs to be agreed between processes for that.
 */
export class BacklogLane {
  readonly #parts: Parts;
  readonly #cursor = new OutboxCursor();
  #nextLookMs = 0;
  #nextOfferMs = 0;
  #headId: number | undefined;
  #headSinceMs = 0;
  /** Since the lane stands still: the newest job that had been done by then. */
  #standstill: { readonly newest: string | undefined } | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** The age in milliseconds from which on rows are left to the backlog's jobs; undefined: nobody does these. */
  get freshMs(): number | undefined {
    const { BACKLOG_AFTER_MS, BACKLOG_JOBS } = this.#parts.config;
    return BACKLOG_JOBS > 0 && this.#standstill === undefined ? BACKLOG_AFTER_MS : undefined;
  }

  /** Looks whether there is a backlog and whether it moves. @throws the error of `pg` */
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

  /** Asks for jobs while there is a backlog. @throws the error of ioredis */
  async offer(): Promise<void> {
    const nowMs = performance.now();
    const isIdle = this.#headId === undefined && this.#standstill === undefined;
    if (isIdle || nowMs < this.#nextOfferMs) return;
    this.#nextOfferMs = nowMs + OFFER_MS;
    const { backlogQueue, config, log } = this.#parts;
    if (this.#headId !== undefined) await offerBacklogJobs(backlogQueue, config.BACKLOG_JOBS);
    if (this.#standstill !== undefined) {
      if ((await newestDrain(backlogQueue)) === this.#standstill.newest) return;
      this.#standstill = undefined;
      this.#headSinceMs = nowMs;
      log.info('workers drain the backlog again');
    } else if (this.#headId !== undefined && nowMs - this.#headSinceMs >= STANDSTILL_MS) {
      this.#standstill = { newest: await newestDrain(backlogQueue) };
      log.warn(
        'no worker drains the backlog; its rows go through the express lane, which is slower. Is the queue "backlog" paused, or are all workers of an older version?',
      );
    }
  }
}
