import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { Logger } from '../shared/process/logger.ts';
import { relayMarkerKey } from '../shared/queue/refresh-queue.ts';
import type { ClaimedRow } from './outbox-claims.ts';
import { claimSentRows, databaseNowS } from './outbox-claims.ts';

/**
 * Why rows are resent. `start`: a relay that was killed may have claimed rows without sending them.
 * `lost`: Redis was emptied. `unsure`: a claim may have been committed whose answer this relay
 * never got. `late`: their refresh takes too long.
 */
type Reason = 'start' | 'lost' | 'unsure' | 'late';

/** A walk, page by page, over the rows that were sent within a span of the database's time. */
interface Walk {
  readonly reason: Reason;
  /** End of the span: whatever was sent later went to the Redis that is there now. */
  readonly toS: number;
  /** The span begins with the first row. */
  readonly isWhole: boolean;
  fromS: number | undefined;
  rows: number;
  ended: boolean;
  /** Redis has the marker that tells other relays about this walk. */
  noted: boolean;
  readonly beganMs: number;
}

const MARKER = '1';
const MARKER_WHILE_RESENDING = 'resending until ';
// A claim that waited before it committed has an earlier time than rows that a walk has already
// passed.
const LOOK_BACK_S = 30;
// A walk over all rows may have to step over millions of dead index entries, as in `OutboxCursor`.
const REST_FACTOR = 20;

/**
 * Decides which sent rows are sent again and claims them page by page: however many there are, each
 * statement is short and new rows are sent in between.
 *
 * Progress needs no record, because a resent row gets a time beyond the walk's end. A walk that a
 * crash interrupts is repeated: every start resends everything, and the marker in Redis says how
 * far a walk after a loss has to go.
 */
export class Resends {
  readonly #config: Config;
  readonly #database: Database;
  readonly #redis: Redis;
  readonly #log: Logger;
  #walk: Walk | undefined;
  #started = false;
  #unsureSinceMs: number | undefined;
  #nextLateMs = 0;
  #lateToS: number | undefined;
  #nextWholeLateMs = 0;

  constructor(parts: { config: Config; database: Database; redis: Redis; log: Logger }) {
    this.#config = parts.config;
    this.#database = parts.database;
    this.#redis = parts.redis;
    this.#log = parts.log;
  }

  get ongoing(): boolean {
    return this.#walk !== undefined;
  }

  /**
   * Notes that rows may have been claimed but not sent since `sinceMs` (of `performance.now()`).
   */
  doubt(sinceMs: number): void {
    this.#unsureSinceMs ??= sinceMs;
  }

  /**
   * Starts a walk if there is a reason for one.
   * @param marker the value at `relayMarkerKey`, null if Redis has none
   * @throws an error from `pg`
   */
  async look(marker: string | null): Promise<void> {
    const reason = this.#walk?.reason;
    if (marker === null) {
      const isWaitingForRedis = reason === 'lost' && this.#walk?.noted === false;
      if (!isWaitingForRedis) this.#beginWhole('lost', await databaseNowS(this.#database));
    } else if (reason === 'lost' || reason === 'start') {
      // This walk covers everything that the other reasons would resend.
    } else if (!this.#started) {
      this.#beginWhole('start', await databaseNowS(this.#database));
    } else if (marker.startsWith(MARKER_WHILE_RESENDING)) {
      // That relay has died, or it is still walking and this one shares its rows.
      this.#beginWhole('lost', Number(marker.slice(MARKER_WHILE_RESENDING.length)));
    } else if (this.#walk === undefined) {
      await this.#lookAtSpans();
    }
  }

  /** Claims the next page of the walk; empty without one. @throws an error from `pg` */
  async claim(limit: number): Promise<ClaimedRow[]> {
    const walk = this.#walk;
    if (walk === undefined || limit <= 0) return [];
    const page = await claimSentRows(this.#database, limit, walk.fromS, walk.toS);
    walk.rows += page.rows.length;
    walk.fromS = page.lastS ?? walk.fromS;
    walk.ended = page.rows.length < limit;
    return page.rows;
  }

  /**
   * Sets the marker of a walk after a loss. Call it before anything goes on the queue, so that
   * another loss from then on is noticed.
   * @throws an error from `ioredis`
   */
  async note(): Promise<void> {
    const walk = this.#walk;
    if (walk === undefined || walk.reason !== 'lost' || walk.noted) return;
    await this.#redis.set(relayMarkerKey(this.#config), `${MARKER_WHILE_RESENDING}${walk.toS}`);
    walk.noted = true;
  }

  /**
   * Ends a completed walk. Call it once the rows of the last claim are on the queue.
   * @throws an error from `ioredis`
   */
  async settle(): Promise<void> {
    const walk = this.#walk;
    if (walk === undefined || !walk.ended) return;
    // XX: Redis may have been emptied again meanwhile.
    if (walk.reason === 'lost') await this.#redis.set(relayMarkerKey(this.#config), MARKER, 'XX');
    this.#walk = undefined;
    const tookMs = performance.now() - walk.beganMs;
    if (walk.isWhole) {
      this.#nextWholeLateMs = performance.now() + tookMs * REST_FACTOR;
    }
    if (walk.rows > 0) this.#report(walk, tookMs);
  }

  #beginWhole(reason: 'start' | 'lost', toS: number): void {
    this.#begin(reason, undefined, toS);
    // A new Redis has no marker either, so the first relay doesn't warn.
    if (reason === 'lost' && this.#started) {
      this.#log.warn('Redis has lost the queue; the outbox rows that were sent are sent again');
    }
    if (!this.#started) this.#log.info('sending outbox rows to the queue');
    this.#started = true;
  }

  async #lookAtSpans(): Promise<void> {
    const nowMs = performance.now();
    if (this.#unsureSinceMs !== undefined) {
      const nowS = await databaseNowS(this.#database);
      const sinceS = nowS - (performance.now() - this.#unsureSinceMs) / 1_000;
      this.#begin('unsure', sinceS - LOOK_BACK_S, nowS);
      this.#unsureSinceMs = undefined;
    } else if (nowMs >= this.#nextLateMs) {
      const toS = (await databaseNowS(this.#database)) - this.#config.RESEND_AFTER_MS / 1_000;
      const from = this.#lateToS === undefined ? undefined : this.#lateToS - LOOK_BACK_S;
      this.#begin('late', nowMs >= this.#nextWholeLateMs ? undefined : from, toS);
      this.#nextLateMs = nowMs + this.#config.RESEND_AFTER_MS / 10;
      this.#lateToS = toS;
    }
  }

  #begin(reason: Reason, fromS: number | undefined, toS: number): void {
    const beganMs = performance.now();
    this.#walk = {
      reason,
      isWhole: fromS === undefined,
      fromS,
      toS,
      rows: 0,
      ended: false,
      noted: false,
      beganMs,
    };
  }

  #report({ reason, rows }: Walk, tookMs: number): void {
    const count = rows.toLocaleString('en');
    switch (reason) {
      case 'start':
      case 'lost':
        this.#log.info(`sent ${count} outbox rows again within ${(tookMs / 1_000).toFixed(1)} s`);
        return;
      case 'unsure':
        this.#log.info(`${count} outbox rows may not have been sent before and are sent again`);
        return;
      case 'late':
        this.#log.info(`${rows} outbox rows were not refreshed in time and are sent again`);
    }
  }
}
