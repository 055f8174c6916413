import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../shared/postgres/database.ts';
import { backoffMs } from '../shared/process/wait.ts';
import { classifyRefreshError } from './refresh-errors.ts';
import { refreshExecutions, type RefreshReport } from './refresh-executions.ts';

/**
 * What became of one execution: the report of its refresh, or why there is none. `failed`: its own
 * fault, costs an attempt. `away`: the database can't serve anyone, costs nothing.
 */
export type RefreshResult =
  | { readonly kind: 'refreshed'; readonly report: RefreshReport }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'away'; readonly error: Error };

export type RefreshResults = ReadonlyMap<number, RefreshResult>;

/** Asks over a fresh connection whether the database serves refreshes; rejects when it doesn't. */
export type Probe = () => Promise<void>;

const CONTENTION_TRIES = 4;

/**
 * Refreshes a batch so that a bad execution harms only itself: a batch that fails is split until
 * the bad one is alone. Never rejects; there is a result for every id.
 * @param executionIds distinct
 * @param wait wait for executions that another transaction holds
 */
export async function refreshBatch(
  database: Database,
  probe: Probe,
  executionIds: readonly number[],
  wait: boolean,
): Promise<RefreshResults> {
  try {
    const reports = await withContentionTries(() =>
      refreshExecutions(database, executionIds, wait),
    );
    return new Map(reports.map((report) => [report.executionId, { kind: 'refreshed', report }]));
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    if (await isWorld(error, probe)) return sameResult(executionIds, { kind: 'away', error });
    if (executionIds.length === 1) return sameResult(executionIds, { kind: 'failed', error });
    const middle = Math.ceil(executionIds.length / 2);
    const left = await refreshBatch(database, probe, executionIds.slice(0, middle), wait);
    const right = await refreshBatch(database, probe, executionIds.slice(middle), wait);
    return new Map([...left, ...right]);
  }
}

function sameResult(executionIds: readonly number[], result: RefreshResult): RefreshResults {
  return new Map(executionIds.map((id) => [id, result]));
}

// Losing a deadlock is nobody's fault and over at once, so it isn't worth an attempt.
async function withContentionTries<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === CONTENTION_TRIES || classifyRefreshError(error) !== 'contention') throw error;
      await delay(backoffMs(attempt, 10, 100));
    }
  }
}

async function isWorld(error: Error, probe: Probe): Promise<boolean> {
  switch (classifyRefreshError(error)) {
    case 'world':
      return true;
    case 'connection':
      return probe().then(
        () => false,
        () => true,
      );
    case 'execution':
    case 'contention':
      return false;
  }
}
