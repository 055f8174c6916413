import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { formatIdentity, type Identity } from '../shared/execution.ts';
import type { Logger } from '../shared/process/logger.ts';
import { Outage } from '../shared/process/outage.ts';
import {
  countJobs,
  enqueueRefreshes,
  relayMarkerKey,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';
import { backoffMs, pause } from '../shared/process/wait.ts';
import { OutboxClaims, releaseRows, resendRows, type ClaimedRow } from './outbox-claims.ts';
import { SendInterval } from './send-interval.ts';

const CLAIM_LIMIT = 1_000;
const IDLE_POLL_FACTOR = 4;
const MIN_PAUSE_MS = 1;

interface Parts {
  readonly config: Config;
  readonly database: Database;
  /** Of the failFast profile. */
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly log: Logger;
}

/**
 * Sends due outbox rows to the queue. At least once: a row stays until the refresh that has seen
 * its change deletes it, and is sent again when that takes too long or when Redis has lost its data.
 * Any number of relays can run; they share the rows.
 */
export class OutboxRelay {
  readonly #parts: Parts;
  readonly #claims: OutboxClaims;
  readonly #interval: SendInterval;
  readonly #queueOutage: Outage;
  readonly #databaseOutage: Outage;
  readonly #stop = new AbortController();
  #loop: Promise<void> | undefined;
  #started = false;
  #nextResendMs = 0;
  #full = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#claims = new OutboxClaims(parts.database);
    this.#interval = new SendInterval(parts.config.REFRESH_INTERVAL_MS);
    this.#queueOutage = new Outage(parts.log, 'the queue in Redis');
    this.#databaseOutage = new Outage(parts.log, 'the outbox in Postgres');
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Finishes the chunk in hand. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { OUTBOX_POLL_MS } = this.#parts.config;
    const { signal } = this.#stop;
    let pollMs = OUTBOX_POLL_MS;
    let failures = 0;
    while (!signal.aborted) {
      const beginMs = performance.now();
      const claimed = await this.#cycle();
      if (claimed === undefined) {
        failures++;
        await pause(backoffMs(failures, 100, 2_000), signal);
        continue;
      }
      failures = 0;
      if (claimed === CLAIM_LIMIT) continue;
      pollMs =
        claimed > 0 ? OUTBOX_POLL_MS : Math.min(pollMs * 2, OUTBOX_POLL_MS * IDLE_POLL_FACTOR);
      // From one look to the next: a pause after each would add what the looks take to every refresh's lag.
      const restMs = beginMs + pollMs - performance.now();
      await pause(Math.max(MIN_PAUSE_MS, restMs), signal);
    }
  }

  /** One turn. @returns how many rows were claimed, or undefined when a store is away */
  async #cycle(): Promise<number | undefined> {
    const { redis, config } = this.#parts;
    let queue: { room: number; lost: boolean };
    try {
      queue = await this.#lookAtQueue();
    } catch (error) {
      this.#queueAway(error);
      return undefined;
    }
    let rows: ClaimedRow[] = [];
    try {
      if (queue.lost || !this.#started) await this.#resendAll(queue.lost);
      if (queue.room > 0) {
        await this.#resendOld();
        rows = await this.#claims.claim(Math.min(queue.room, CLAIM_LIMIT));
      }
      this.#databaseOutage.end();
    } catch (error) {
      this.#databaseOutage.begin(error);
      return undefined;
    }
    try {
      // After everything was made unsent, so that a crash in between repeats that.
      if (queue.lost) await redis.set(relayMarkerKey(config), '1');
      await this.#send(rows);
      this.#queueOutage.end();
      return rows.length;
    } catch (error) {
      this.#queueAway(error);
      await this.#release(rows.map(({ rowId }) => ({ rowId, waitMs: 0 })));
      return undefined;
    }
  }

  /** How many jobs the queue may still take, and whether Redis has lost what was sent to it. */
  async #lookAtQueue(): Promise<{ room: number; lost: boolean }> {
    const { config, redis, queue, log } = this.#parts;
    const [marker, counts] = await Promise.all([
      redis.get(relayMarkerKey(config)),
      countJobs(queue),
    ]);
    const room = config.QUEUE_HIGH_WATER - counts.waiting - counts.delayed;
    if (room > 0 === this.#full) {
      this.#full = room <= 0;
      log.info(
        this.#full
          ? `the queue is at its high-water mark of ${config.QUEUE_HIGH_WATER} jobs; rows wait in the outbox`
          : 'the queue is below its high-water mark again',
      );
    }
    return { room, lost: marker === null };
  }

  /**
   * Everything that was sent counts as unsent: when Redis has lost its data, and once at the start,
   * for rows that a killed relay had claimed and not sent.
   */
  async #resendAll(lost: boolean): Promise<void> {
    const rows = await resendRows(this.#parts.database, 0);
    this.#claims.startOver();
    if (lost && this.#started) {
      this.#parts.log.warn(`Redis has lost the queue; ${rows} outbox rows are sent again`);
    }
    if (!this.#started) this.#parts.log.info('sending outbox rows to the queue');
    this.#started = true;
  }

  async #resendOld(): Promise<void> {
    const { config, database, log } = this.#parts;
    const nowMs = performance.now();
    if (nowMs < this.#nextResendMs) return;
    const rows = await resendRows(database, config.RESEND_AFTER_MS);
    this.#nextResendMs = nowMs + config.RESEND_AFTER_MS / 10;
    if (rows === 0) return;
    this.#claims.startOver();
    log.info(`${rows} outbox rows were not refreshed in time and are sent again`);
  }

  // A lost connection is logged by the connection; this is for a Redis that answers with an error.
  #queueAway(error: unknown): void {
    if (this.#parts.redis.status === 'ready') this.#queueOutage.begin(error);
  }

  /** @throws the error of ioredis; then none of the rows counts as sent */
  async #send(rows: readonly ClaimedRow[]): Promise<void> {
    const nowMs = performance.now();
    const due = new Map<string, Identity>();
    const early: { rowId: number; waitMs: number }[] = [];
    for (const { rowId, executionId, vendor } of rows) {
      const identity = formatIdentity({ executionId, vendor });
      const waitMs = this.#interval.waitMs(identity, nowMs);
      if (waitMs > 0) early.push({ rowId, waitMs });
      else due.set(identity, { executionId, vendor });
    }
    await enqueueRefreshes(this.#parts.queue, [...due.values()]);
    for (const identity of due.keys()) this.#interval.markSent(identity, nowMs);
    await this.#release(early);
  }

  async #release(rows: readonly { rowId: number; waitMs: number }[]): Promise<void> {
    try {
      await releaseRows(this.#parts.database, rows);
    } catch (error) {
      // They stay marked as sent, and are sent again when that is old.
      this.#databaseOutage.begin(error);
    }
  }
}
