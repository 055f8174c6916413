import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Redis } from 'ioredis';
import type { Counter } from 'prom-client';
import type { TransactionDatabase } from '../shared/postgres/database.ts';
import { Lease } from '../shared/postgres/lease.ts';
import type { Logger } from '../shared/process/logger.ts';
import { startLoop, type Idle, type Loop } from '../shared/process/loop.ts';
import { Outage } from '../shared/process/outage.ts';
import { INTAKE_DUTY, MarkerTransfer, type MarkerPage } from '../shared/harbor/transfer.ts';

const SET_POLL_MS = 1_000;
const KEYS_POLL_MS = 5_000;
// After a scan of all keys, the intake rests for this many times what the scan took. So it needs at
// most a tenth of Redis' time, however many other keys there are.
const KEYS_REST_FACTOR = 9;
const LEASE_RETRY_MS = 2_000;
const PROGRESS_MS = 1_000;

interface Parts {
  /** Connected to Harbor's Redis. */
  readonly redis: Redis;
  readonly database: TransactionDatabase;
  readonly delayMs: number;
  readonly log: Logger;
  readonly malformed: Counter;
}

/**
 * Moves Harbor's markers into the outbox while it runs: the members of its set every second,
 * markers that are keys of their own every five seconds, or less often if scanning all keys takes
 * Redis more than half a second.
 *
 * Only one of the producers does this, the one that holds the lease in Postgres; each page of rows
 * commits only while it does. The others ask for the lease every two seconds, and one of them takes
 * over within ten when the holder dies or freezes.
 */
export class MarkerIntake {
  readonly #parts: Parts;
  readonly #transfer: MarkerTransfer;
  readonly #lease: Lease;
  #loop: Loop | undefined;
  #waiting = false;
  #nextKeysMs = 0;
  #taken = 0;
  #malformed = 0;
  #example = '';
  #nextProgressMs = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#lease = new Lease(parts.database, INTAKE_DUTY);
    this.#transfer = new MarkerTransfer(parts.redis, parts.delayMs, (page) => this.#count(page));
  }

  start(): void {
    this.#loop ??= startLoop({
      step: (signal) => this.#step(signal),
      outage: new Outage(this.#parts.log, 'the marker intake', explainDatabaseError),
      lease: this.#lease,
    });
  }

  /** Finishes the page in hand. */
  async close(): Promise<void> {
    await this.#loop?.close();
  }

  async #step(signal: AbortSignal): Promise<number | Idle> {
    const { redis } = this.#parts;
    try {
      if (redis.status === 'ready') return await this.#takeIn(signal);
    } catch (error) {
      // The connection itself logs that it was lost.
      if (redis.status === 'ready') throw error;
    }
    // Another producer's connection may still work.
    await this.#lease.release();
    return { idleMs: SET_POLL_MS };
  }

  /** Takes in the markers that Harbor has now. @returns milliseconds until the next run */
  async #takeIn(signal: AbortSignal): Promise<number> {
    const { database, log } = this.#parts;
    // Needs no lease: recording a refresh twice is harmless.
    await this.#transfer.settleDoubts(database);
    const held = this.#lease.held;
    if (!(await this.#lease.take())) {
      if (!this.#waiting) log.info("another process takes in Harbor's markers; this one waits");
      this.#waiting = true;
      return LEASE_RETRY_MS;
    }
    if (!held) log.info("taking in Harbor's markers");
    this.#waiting = false;
    this.#nextProgressMs = performance.now() + PROGRESS_MS;
    const guarded = this.#lease.guard();
    try {
      await this.#transfer.takeSet(guarded, signal);
      if (performance.now() >= this.#nextKeysMs) {
        const lookedMs = await this.#transfer.takeKeys(guarded, signal);
        const restMs = Math.max(KEYS_POLL_MS, lookedMs * KEYS_REST_FACTOR);
        this.#nextKeysMs = performance.now() + restMs;
      }
    } finally {
      this.#report();
    }
    return SET_POLL_MS;
  }

  #count({ taken, malformed }: MarkerPage): void {
    this.#taken += taken;
    this.#malformed += malformed.length;
    this.#parts.malformed.inc(malformed.length);
    this.#example = malformed[0] ?? this.#example;
    if (performance.now() >= this.#nextProgressMs) {
      this.#nextProgressMs = performance.now() + PROGRESS_MS;
      this.#parts.log.info(`took in ${this.#taken.toLocaleString('en')} markers so far`);
    }
  }

  #report(): void {
    const { log } = this.#parts;
    if (this.#taken > 0) log.info(`took in ${this.#taken.toLocaleString('en')} markers`);
    if (this.#malformed > 0) {
      const example = JSON.stringify(this.#example.slice(0, 100));
      log.warn(
        `dropped ${this.#malformed.toLocaleString('en')} malformed markers, for example ${example}`,
      );
    }
    this.#taken = 0;
    this.#malformed = 0;
  }
}
