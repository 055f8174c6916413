import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../shared/postgres/database.ts';
import { classifyError, type ErrorKind } from '../shared/postgres/error-kinds.ts';
import { backoffMs } from '../shared/process/wait.ts';
import { refreshExecutions, type RefreshReport } from './refresh-executions.ts';

/**
 * What became of one execution: the report of its refresh, or why there is none. `failed`: its own
 * fault, costs an attempt. `unavailable`: the database can't serve anyone, costs nothing.
 */
export type RefreshResult =
  | { readonly kind: 'refreshed'; readonly report: RefreshReport }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'unavailable'; readonly error: Error };

export type RefreshResults = ReadonlyMap<number, RefreshResult>;

/** Tries over a fresh connection whether the database finishes refreshes; rejects when it doesn't. */
export type Probe = () => Promise<void>;

const CONTENTION_TRIES = 4;
// An outage may end, or a single backend be ended, between a statement and the probe that follows it: the probe then
// blames whoever was alone in that statement. So nobody is blamed for less than this many statements in a row.
const TRIES_ALONE: Record<'connection' | 'timeout', number> = {
  connection: 3,
  // Each may take as long as the longest wait for a lock or the longest statement.
  timeout: 2,
};

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
  for (let attempt = 1; ; attempt++) {
    try {
      const reports = await withContentionTries(() =>
        refreshExecutions(database, executionIds, wait),
      );
      return new Map(reports.map((report) => [report.executionId, { kind: 'refreshed', report }]));
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      const kind = classifyError(error);
      if (await isUnavailable(kind, probe)) {
        return sameResult(executionIds, { kind: 'unavailable', error });
      }
      if (executionIds.length > 1) return refreshHalves(database, probe, executionIds, wait);
      const tries = kind === 'connection' || kind === 'timeout' ? TRIES_ALONE[kind] : 1;
      if (attempt >= tries) return sameResult(executionIds, { kind: 'failed', error });
    }
  }
}

async function refreshHalves(
  database: Database,
  probe: Probe,
  executionIds: readonly number[],
  wait: boolean,
): Promise<RefreshResults> {
  const middle = Math.ceil(executionIds.length / 2);
  const left = await refreshBatch(database, probe, executionIds.slice(0, middle), wait);
  const right = await refreshBatch(database, probe, executionIds.slice(middle), wait);
  return new Map([...left, ...right]);
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
      if (attempt === CONTENTION_TRIES || classifyError(error) !== 'contention') throw error;
      await delay(backoffMs(attempt, 10, 100));
    }
  }
}

async function isUnavailable(kind: ErrorKind, probe: Probe): Promise<boolean> {
  switch (kind) {
    case 'unavailable':
      return true;
    case 'connection':
    case 'timeout':
      return probe().then(
        () => false,
        () => true,
      );
    case 'execution':
    case 'contention':
      return false;
  }
}
