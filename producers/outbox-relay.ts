import type { Redis } from 'ioredis';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { releaseRows } from '../shared/postgres/outbox.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import { classifyError } from '../shared/postgres/error-kinds.ts';
import { formatIdentity, type Identity } from '../shared/execution.ts';
import type { Logger } from '../shared/process/logger.ts';
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
import { backoffMs, pause } from '../shared/process/wait.ts';
import { BacklogLane } from './backlog-lane.ts';
import { OutboxClaims, type ClaimedRow } from './outbox-claims.ts';
import { Resends } from './outbox-resends.ts';
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
  readonly backlogQueue: BacklogQueue;
  /** Rejects while Postgres doesn't finish commits. */
  readonly probe: () => Promise<void>;
  readonly log: Logger;
}

/**
 * Sends fresh outbox rows to the queue, and asks for jobs that drain the older ones. At least once: a row stays until
 * the refresh that has seen its change deletes it, and is sent again when that takes too long or when Redis has lost its
 * data.
 * Any number of relays can run; they share the rows.
 */
export class OutboxRelay {
  readonly #parts: Parts;
  readonly #claims: OutboxClaims;
  readonly #resends: Resends;
  readonly #backlog: BacklogLane;
  readonly #interval: SendInterval;
  readonly #queueOutage: Outage;
  readonly #databaseOutage: Outage;
  readonly #stop = new AbortController();
  #loop: Promise<void> | undefined;
  #full = false;
  /** Until Redis has shown that it takes what the queue needs: at the start, and after an error. */
  #doubtful = true;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#claims = new OutboxClaims(parts.database);
    this.#resends = new Resends(parts);
    this.#backlog = new BacklogLane(parts);
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
        this.#backlog.forget();
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

  /** One turn. @returns the rows of the fullest claim, or undefined when a store is away */
  async #cycle(): Promise<number | undefined> {
    let queue: { room: number; waiting: number; marker: string | null };
    try {
      if (this.#doubtful) await this.#probe();
      queue = await this.#lookAtQueue();
      this.#doubtful = false;
    } catch (error) {
      await this.#queueAway(error);
      return undefined;
    }
    const claimed = await this.#claim(queue);
    if (claimed === undefined) return undefined;
    const { fresh, again } = claimed;
    const rows = [...fresh, ...again];
    try {
      await this.#resends.note();
      await this.#send(rows);
      await this.#resends.settle();
    } catch (error) {
      await this.#queueAway(error);
      await this.#release(rows.map(({ rowId }) => ({ rowId, waitMs: 0 })));
      return undefined;
    }
    try {
      await this.#backlog.offer();
      this.#queueOutage.end();
      return Math.max(fresh.length, again.length);
    } catch (error) {
      await this.#queueAway(error);
      return undefined;
    }
  }

  /**
   * Claims new rows and, where there is a reason to, some that were sent before: each at most a page, and new ones at
   * least half of the room, so that neither waits for the other to end. @returns undefined when Postgres is unavailable
   */
  async #claim({
    room,
    waiting,
    marker,
  }: {
    readonly room: number;
    readonly waiting: number;
    readonly marker: string | null;
  }): Promise<{ readonly fresh: readonly ClaimedRow[]; readonly again: ClaimedRow[] } | undefined> {
    const beganMs = performance.now();
    let fresh: readonly ClaimedRow[] = [];
    try {
      // While commits hang, a claim that finds nothing would look like the end of it, and one that finds rows
      // keeps them from everybody else.
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
      // A claim may be committed although nobody said so.
      if (fresh.length > 0 || classifyError(error) === 'connection') this.#resends.doubt(beganMs);
      this.#databaseOutage.begin(explainDatabaseError(error));
      return undefined;
    }
  }

  /** How many jobs the queue may still take, how many wait, and what shows whether Redis has lost what was sent to it. */
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

  // A lost connection is logged by the connection; this is for a Redis that answers with an error.
  async #queueAway(thrown: unknown): Promise<void> {
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
      this.#databaseOutage.begin(explainDatabaseError(error));
    }
  }
}
