import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { Logger } from '../shared/process/logger.ts';
import { relayMarkerKey } from '../shared/queue/refresh-queue.ts';
import type { ClaimedRow } from './outbox-claims.ts';
import { claimSentRows, databaseNowS } from './outbox-claims.ts';

/**
 * Why rows are sent again. `start`: a relay that was killed may have claimed them and not sent them. `lost`: Redis was
 * emptied. `unsure`: a claim was committed whose answer this relay never got. `late`: their refresh takes too long.
 */
type Reason = 'start' | 'lost' | 'unsure' | 'late';

/** Goes over the rows that were sent in a span of time, by the database's clock, a page at a time. */
interface Walk {
  readonly reason: Reason;
  /** What was sent since goes to the same Redis; it isn't sent again. */
  readonly toS: number;
  /** From the very first row on. */
  readonly isWhole: boolean;
  fromS: number | undefined;
  rows: number;
  ended: boolean;
  /** Redis has the marker that says until when everything is sent again. */
  noted: boolean;
  readonly beganMs: number;
}

const MARKER = '1';
const MARKER_WHILE_RESENDING = 'resending until ';
// A claim that waited before it committed has an earlier time than others that a walk has seen.
const LOOK_BACK_S = 30;
// As in a look for unsent rows: one over everything may have to step over millions of dead entries.
const REST_FACTOR = 20;

/**
 * Decides which sent rows are sent again, and claims them in pages, so that any number of them costs short statements
 * only and new rows are sent in between. Progress is in the rows themselves: one that is sent again lies behind the
 * walk's end. What a crash cuts off is begun anew: a start sends everything again, and the marker in Redis says
 * until when everything is to be sent until that is done.
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

  /** Tells that rows may have been claimed since then (by `performance.now()`) and not sent. */
  doubt(sinceMs: number): void {
    this.#unsureSinceMs ??= sinceMs;
  }

  /**
   * Begins to send rows again where there is a reason to.
   * @param marker what Redis has at `relayMarkerKey`
   * @throws the error of `pg`
   */
  async look(marker: string | null): Promise<void> {
    const reason = this.#walk?.reason;
    if (marker === null) {
      const isWaitingForRedis = reason === 'lost' && this.#walk?.noted === false;
      if (!isWaitingForRedis) this.#beginWhole('lost', await databaseNowS(this.#database));
    } else if (reason === 'lost' || reason === 'start') {
      // It covers whatever else there may be.
    } else if (!this.#started) {
      this.#beginWhole('start', await databaseNowS(this.#database));
    } else if (marker.startsWith(MARKER_WHILE_RESENDING)) {
      // A relay that has died since, or another one, with which this one then shares the rows.
      this.#beginWhole('lost', Number(marker.slice(MARKER_WHILE_RESENDING.length)));
    } else if (this.#walk === undefined) {
      await this.#lookAtSpans();
    }
  }

  /** Claims the next page. @throws the error of `pg` */
  async claim(limit: number): Promise<ClaimedRow[]> {
    const walk = this.#walk;
    if (walk === undefined || limit <= 0) return [];
    const page = await claimSentRows(this.#database, limit, walk.fromS, walk.toS);
    walk.rows += page.rows.length;
    walk.fromS = page.lastS ?? walk.fromS;
    walk.ended = page.rows.length < limit;
    return page.rows;
  }

  /** To be called before anything is put on the queue, so that a loss from then on is noticed. @throws the error of ioredis */
  async note(): Promise<void> {
    const walk = this.#walk;
    if (walk === undefined || walk.reason !== 'lost' || walk.noted) return;
    await this.#redis.set(relayMarkerKey(this.#config), `${MARKER_WHILE_RESENDING}${walk.toS}`);
    walk.noted = true;
  }

  /** To be called when the rows of the last claim are on the queue. @throws the error of ioredis */
  async settle(): Promise<void> {
    const walk = this.#walk;
    if (walk === undefined || !walk.ended) return;
    // Only where it still stands: Redis may have been emptied meanwhile.
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
    // The first relay on a new Redis finds no marker either.
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
