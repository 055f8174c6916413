import type { Counter } from 'prom-client';
import type { Config } from '../shared/process/config.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Database } from '../shared/postgres/database.ts';
import { recordDisagreements } from '../shared/postgres/disagreements.ts';
import { Turns } from '../shared/postgres/lease.ts';
import type { Logger } from '../shared/process/logger.ts';
import { startLoop, type Loop } from '../shared/process/loop.ts';
import { Outage } from '../shared/process/outage.ts';
import { pause } from '../shared/process/wait.ts';

const PAGE_MIN = 50;
const PAGE_MAX = 1_000;
// If Postgres works longer on a page, smaller ones follow: an execution may have 20,000 tasks. The
// commit and the way to Postgres don't count: smaller pages would only have more of them.
const PAGE_BUDGET_MS = 50;
// Between two pages the reconciler rests for this many times what the page took, so that a pass
// uses at most a tenth of one connection, however large the table. The rest is capped, or another
// producer would think the pass abandoned and start its own.
const REST_FACTOR = 9;
const REST_MAX_OF_INTERVAL = 0.4;

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly log: Logger;
  readonly repaired: Counter;
}

/**
 * Starts the loop that finds executions stuck behind their tasks without a request (their tasks
 * changed before capture was enabled, or the host's markers were lost) and records a refresh of
 * each. Every `RECONCILE_INTERVAL_MS`, the producer that gets the turn makes one pass over all
 * executions. It doesn't need Redis. Closing the loop finishes the page in hand.
 */
export function startReconciler(parts: Parts): Loop {
  const { database, log } = parts;
  const intervalMs = parts.config.RECONCILE_INTERVAL_MS;
  const turns = new Turns(database, 'reconciler', intervalMs);
  // Kept between passes: one that ends with a slow page starts the next with small ones.
  const pageSize = new PageSize();
  return startLoop({
    outage: new Outage(log, 'the reconciler', explainDatabaseError),
    step: async (signal) => {
      try {
        if (await turns.take()) await makePass(parts, turns, pageSize, signal);
      } catch (error) {
        pageSize.halve();
        throw error;
      }
      return Math.min(intervalMs / 4, 5_000);
    },
  });
}

async function makePass(
  parts: Parts,
  turns: Turns,
  pageSize: PageSize,
  signal: AbortSignal,
): Promise<void> {
  const { config, database, log, repaired } = parts;
  const restMaxMs = config.RECONCILE_INTERVAL_MS * REST_MAX_OF_INTERVAL;
  let found = 0;
  for (let after: number | undefined = 0; after !== undefined;) {
    const begin = performance.now();
    const page = await recordDisagreements(database, after, pageSize.executions);
    const tookMs = performance.now() - begin;
    await turns.prolong();
    found += page.disagreements.length;
    repaired.inc(page.disagreements.length);
    after = page.last;
    pageSize.adapt(page.workMs);
    await pause(Math.min(tookMs * REST_FACTOR, restMaxMs), signal);
    if (signal.aborted) return;
  }
  await database.query('UPDATE tally.reconciler SET last_pass_at = clock_timestamp()');
  if (found > 0) {
    log.warn(`${found} executions were stuck behind their tasks; a refresh of each is recorded`);
  }
}

/** Adaptive page size, in executions: halved after a slow page, doubled after a quick one. */
class PageSize {
  #executions = PAGE_MAX;

  get executions(): number {
    return this.#executions;
  }

  halve(): void {
    this.#executions = Math.max(PAGE_MIN, Math.floor(this.#executions / 2));
  }

  adapt(workMs: number): void {
    if (workMs > PAGE_BUDGET_MS) this.halve();
    else if (workMs < PAGE_BUDGET_MS / 4)
      this.#executions = Math.min(PAGE_MAX, this.#executions * 2);
  }
}
