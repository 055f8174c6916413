import type { Counter } from 'prom-client';
import type { Config } from '../shared/process/config.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Database } from '../shared/postgres/database.ts';
import { recordDisagreements } from '../shared/postgres/disagreements.ts';
import type { Logger } from '../shared/process/logger.ts';
import { Outage } from '../shared/process/outage.ts';
import { pause } from '../shared/process/wait.ts';

// Smaller ones would not be faster where it is the way to the database that takes the time.
const PAGE_MIN = 50;
const PAGE_MAX = 1_000;
// A page that takes longer than this is followed by smaller ones: executions may have 20,000 tasks each.
const PAGE_BUDGET_MS = 50;
// Between two pages the database rests for this many times what the page took, so that a pass takes
// at most a tenth of one connection however large the table is; but never so long that another
// producer would take the pass for one that was given up.
const REST_FACTOR = 9;
const REST_MAX_OF_INTERVAL = 0.4;

/**
 * Finds executions that are stuck behind their tasks though nobody asked for a refresh (changes before
 * capture was enabled, lost marks of the host), and records a refresh of each. Every
 * `RECONCILE_INTERVAL_MS` one of the producers makes a pass over all executions; the row
 * `tally.reconciler` says whose turn it is. Needs nothing of Redis.
 */
export class Reconciler {
  readonly #config: Config;
  readonly #database: Database;
  readonly #log: Logger;
  readonly #repaired: Counter;
  readonly #outage: Outage;
  readonly #stop = new AbortController();
  /** Executions in a page; kept from pass to pass, since a pass may end with a page that takes too long. */
  #pageSize = PAGE_MAX;
  #loop: Promise<void> | undefined;

  constructor(parts: {
    readonly config: Config;
    readonly database: Database;
    readonly log: Logger;
    readonly repaired: Counter;
  }) {
    this.#config = parts.config;
    this.#database = parts.database;
    this.#log = parts.log;
    this.#repaired = parts.repaired;
    this.#outage = new Outage(parts.log, 'the reconciler');
  }

  /** Without effect when `RECONCILE_INTERVAL_MS` is 0. */
  start(): void {
    if (this.#config.RECONCILE_INTERVAL_MS > 0) this.#loop ??= this.#run();
  }

  /** Finishes the page in hand. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const intervalMs = this.#config.RECONCILE_INTERVAL_MS;
    while (!signal.aborted) {
      try {
        if (await this.#takeTurn(intervalMs)) await this.#pass();
        this.#outage.end();
      } catch (error) {
        this.#outage.begin(explainDatabaseError(error));
        this.#pageSize = Math.max(PAGE_MIN, Math.floor(this.#pageSize / 2));
      }
      await pause(Math.min(intervalMs / 4, 5_000), signal);
    }
  }

  /** True for one producer only, and not before `intervalMs` after the last sign of a pass. */
  async #takeTurn(intervalMs: number): Promise<boolean> {
    const turns = await this.#database.query(
      `UPDATE tally.reconciler SET active_at = clock_timestamp()
        WHERE active_at <= clock_timestamp() - $1 * interval '1 millisecond'
       RETURNING 1`,
      [intervalMs],
    );
    return turns.length > 0;
  }

  async #pass(): Promise<void> {
    const { signal } = this.#stop;
    const restMaxMs = this.#config.RECONCILE_INTERVAL_MS * REST_MAX_OF_INTERVAL;
    let found = 0;
    for (let after: number | undefined = 0; after !== undefined;) {
      const begin = performance.now();
      const page = await recordDisagreements(this.#database, after, this.#pageSize);
      const tookMs = performance.now() - begin;
      found += page.disagreements.length;
      this.#repaired.inc(page.disagreements.length);
      after = page.last;
      this.#pageSize = nextPageSize(this.#pageSize, tookMs);
      await pause(Math.min(tookMs * REST_FACTOR, restMaxMs), signal);
      if (signal.aborted) return;
    }
    await this.#database.query('UPDATE tally.reconciler SET last_pass_at = clock_timestamp()');
    if (found > 0) {
      this.#log.warn(
        `${found} executions were stuck behind their tasks; a refresh of each is recorded`,
      );
    }
  }
}

function nextPageSize(pageSize: number, tookMs: number): number {
  if (tookMs > PAGE_BUDGET_MS) return Math.max(PAGE_MIN, Math.floor(pageSize / 2));
  return tookMs < PAGE_BUDGET_MS / 4 ? Math.min(PAGE_MAX, pageSize * 2) : pageSize;
}
