import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { releaseRows } from '../shared/postgres/outbox.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import { classifyError } from '../shared/postgres/error-kinds.ts';
import { formatIdentity } from '../shared/execution.ts';
import type { Logger } from '../shared/process/logger.ts';
import { startLoop, type Loop } from '../shared/process/loop.ts';
import { Outage } from '../shared/process/outage.ts';
import { findCause, probeQueue } from '../shared/queue/queue-probe.ts';
import { explainRedisError } from '../shared/queue/redis-errors.ts';
import { settingsOf } from '../shared/queue/redis.ts';
import type { BacklogQueue } from '../shared/queue/backlog-queue.ts';
import {
  countJobs,
  enqueueRefreshes,
  relayMarkerKey,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';
import { BacklogLane } from './backlog-lane.ts';
import { OutboxClaims, type ClaimedRow } from './outbox-claims.ts';
import { Resends } from './outbox-resends.ts';
import { SendInterval } from './send-interval.ts';

const CLAIM_LIMIT = 1_000;
const IDLE_POLL_FACTOR = 4;
const MIN_IDLE_POLL_MS = 100;
const RETRY = { firstMs: 100, maxMs: 2_000 };

interface Parts {
  readonly config: Config;
  readonly database: Database;
  /** With the `failFast` profile. */
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly backlogQueue: BacklogQueue;
  /** Rejects while Postgres can't finish commits. */
  readonly probe: () => Promise<void>;
  readonly log: Logger;
  readonly tracing?: Tracing | undefined;
}

/**
 * Sends fresh outbox rows to the queue and offers jobs that drain the older ones. At least once: a
 * row stays until the refresh that saw its change deletes it, and is resent if that takes too long
 * or if Redis has lost its data. Any number of relays can run; they share the rows.
 */
export class OutboxRelay {
  readonly #parts: Parts;
  readonly #claims: OutboxClaims;
  readonly #resends: Resends;
  readonly #backlog: BacklogLane;
  readonly #interval: SendInterval;
  readonly #queueOutage: Outage;
  readonly #databaseOutage: Outage;
  #loop: Loop | undefined;
  #pollMs: number;
  #full = false;
  /** Redis must first prove that it takes what the queue needs: at the start and after an error. */
  #doubtful = true;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#claims = new OutboxClaims(parts.database);
    this.#resends = new Resends(parts);
    this.#backlog = new BacklogLane(parts);
    this.#interval = new SendInterval(parts.config.REFRESH_INTERVAL_MS);
    this.#pollMs = parts.config.OUTBOX_POLL_MS;
    this.#queueOutage = new Outage(parts.log, 'the queue in Redis');
    this.#databaseOutage = new Outage(parts.log, 'the outbox in Postgres', explainDatabaseError);
  }

  start(): void {
    this.#loop ??= startLoop({ step: () => this.#step(), retry: RETRY });
  }

  /** Stops after the chunk in hand. */
  async close(): Promise<void> {
    await this.#loop?.close();
  }

  /**
   * One turn of the loop.
   * @returns milliseconds until the next one
   * @throws an error that is already logged, while a store is unavailable
   */
  async #step(): Promise<number> {
    const { OUTBOX_POLL_MS } = this.#parts.config;
    const beginMs = performance.now();
    let claimed: number;
    try {
      claimed = await this.#cycle();
    } catch (error) {
      this.#backlog.forget();
      throw error;
    }
    if (claimed === CLAIM_LIMIT) return 0;
    const idlePollMs = Math.max(OUTBOX_POLL_MS * IDLE_POLL_FACTOR, MIN_IDLE_POLL_MS);
    this.#pollMs = claimed > 0 ? OUTBOX_POLL_MS : Math.min(this.#pollMs * 2, idlePollMs);
    // Measured from start to start: pausing after each cycle would add the cycle's own time to
    // every refresh's lag. After a slow cycle the stores get a rest, but a short one: whatever held
    // them up may be over.
    const tookMs = performance.now() - beginMs;
    return Math.max(Math.min(tookMs, MIN_IDLE_POLL_MS), this.#pollMs - tookMs);
  }

  /** @returns the number of rows in the larger of the two claims */
  async #cycle(): Promise<number> {
    const queue = await this.#orQueueAway(async () => {
      if (this.#doubtful) await this.#probe();
      return this.#lookAtQueue();
    });
    this.#doubtful = false;
    const { fresh, again } = await this.#claim(queue);
    const rows = [...fresh, ...again];
    await this.#orQueueAway(
      async () => {
        await this.#resends.note();
        await this.#send(rows);
        await this.#resends.settle();
      },
      () => this.#release(rows.map(({ rowId }) => ({ rowId, waitMs: 0 }))),
    );
    await this.#orQueueAway(() => this.#backlog.offer());
    this.#queueOutage.end();
    return Math.max(fresh.length, again.length);
  }

  /**
   * Claims new rows and, if there is a reason, some that were sent before. Each claim is at most a
   * page, and new rows get at least half of the room, so that neither waits for the other to end.
   * @throws an error that is already logged, when Postgres is unavailable
   */
  async #claim({
    room,
    waiting,
    marker,
  }: {
    readonly room: number;
    readonly waiting: number;
    readonly marker: string | null;
  }): Promise<{ readonly fresh: readonly ClaimedRow[]; readonly again: ClaimedRow[] }> {
    const beganMs = performance.now();
    let fresh: readonly ClaimedRow[] = [];
    try {
      // While commits hang, a claim without rows would look like the end of the outage, and one
      // with rows would keep them from every other relay.
      if (this.#databaseOutage.ongoing) await this.#parts.probe();
      await this.#resends.look(marker);
      await this.#backlog.look();
      if (room > 0) {
        const share = this.#resends.ongoing ? Math.ceil(room / 2) : room;
        const limit = Math.min(share, this.#backlog.expressJobs - waiting, CLAIM_LIMIT);
        fresh = limit > 0 ? await this.#claims.claim(limit, this.#backlog.freshMs) : [];
      }
      const again = await this.#resends.claim(Math.min(room - fresh.length, CLAIM_LIMIT));
      this.#databaseOutage.end();
      return { fresh, again };
    } catch (error) {
      // The claim may have been committed without an answer.
      if (fresh.length > 0 || classifyError(error) === 'connection') this.#resends.doubt(beganMs);
      this.#databaseOutage.begin(error);
      throw error;
    }
  }

  /**
   * How many more jobs the queue may take, how many wait, and the marker that shows whether Redis
   * has lost what was sent to it.
   */
  async #lookAtQueue(): Promise<{ room: number; waiting: number; marker: string | null }> {
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
    return { room, waiting: counts.waiting, marker };
  }

  /**
   * Runs work that needs Redis. When it fails, runs `undo` before it throws.
   * @throws an error that is already logged, when Redis is unavailable
   */
  async #orQueueAway<T>(work: () => Promise<T>, undo?: () => Promise<void>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#reportQueueAway(error);
      await undo?.();
      throw error;
    }
  }

  // Reports a Redis that answers with errors; a lost connection is logged by the connection itself.
  async #reportQueueAway(thrown: unknown): Promise<void> {
    const { redis, config } = this.#parts;
    const cause = this.#doubtful ? thrown : await findCause(thrown, () => this.#probe());
    this.#doubtful = true;
    if (redis.status !== 'ready') return;
    this.#queueOutage.begin(explainRedisError(cause, settingsOf(redis, config)));
  }

  #probe(): Promise<void> {
    const { config, queue, redis } = this.#parts;
    return probeQueue(config, queue, redis);
  }

  /** @throws an error from `ioredis`; then none of the rows counts as sent */
  async #send(rows: readonly ClaimedRow[]): Promise<void> {
    const nowMs = performance.now();
    const due = new Map<string, ClaimedRow>();
    const early: { rowId: number; waitMs: number }[] = [];
    for (const row of rows) {
      const identity = formatIdentity(row);
      const waitMs = this.#interval.waitMs(identity, nowMs);
      if (waitMs > 0) early.push({ rowId: row.rowId, waitMs });
      // Of several rows, a traced one, whose request somebody may be looking for.
      else if (row.traceparent !== null || !due.has(identity)) due.set(identity, row);
    }
    const { queue, tracing } = this.#parts;
    await enqueueRefreshes(queue, [...due.values()], tracing);
    for (const identity of due.keys()) this.#interval.markSent(identity, nowMs);
    await this.#release(early);
  }

  async #release(rows: readonly { rowId: number; waitMs: number }[]): Promise<void> {
    try {
      await releaseRows(this.#parts.database, rows);
    } catch (error) {
      // They stay marked as sent, and are resent after `RESEND_AFTER_MS`.
      this.#databaseOutage.begin(error);
    }
  }
}
