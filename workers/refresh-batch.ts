import type { Database } from '../shared/postgres/database.ts';
import { attempt, type Probe } from './attempt.ts';
import { refreshExecutions, type RefreshReport } from './refresh-executions.ts';

/**
 * The outcome for one execution: the report of its refresh, or why there is none. `failed`: its own
 * fault, costs an attempt. `unavailable`: the database can't serve anyone, costs nothing.
 */
export type RefreshResult =
  | { readonly kind: 'refreshed'; readonly report: RefreshReport }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'unavailable'; readonly error: Error };

/** Results by execution id. */
export type RefreshResults = ReadonlyMap<number, RefreshResult>;

// An outage may end, or a single backend be terminated, between a statement and the probe that
// follows it. The probe then succeeds, and the execution that was alone in that statement looks
// guilty. So an execution is blamed only after this many failed statements in a row.
const TRIES_ALONE: Record<'connection' | 'timeout', number> = {
  connection: 3,
  // Each may take as long as the longest wait for a lock or the statement timeout.
  timeout: 2,
};

/**
 * Refreshes a batch so that a bad execution harms only itself: a batch that fails is split until
 * the bad one is alone. Never rejects; the result has an entry for every id.
 * @param executionIds distinct
 * @param wait whether to wait for executions that another transaction holds
 */
export async function refreshBatch(
  database: Database,
  probe: Probe,
  executionIds: readonly number[],
  wait: boolean,
): Promise<RefreshResults> {
  for (let tries = 1; ; tries++) {
    const tried = await attempt(probe, () => refreshExecutions(database, executionIds, wait));
    switch (tried.kind) {
      case 'done':
        return new Map(
          tried.result.map((report) => [report.executionId, { kind: 'refreshed', report }]),
        );
      case 'unavailable':
        return sameResult(executionIds, tried);
      case 'failed': {
        if (executionIds.length > 1) return refreshHalves(database, probe, executionIds, wait);
        const { about, error } = tried;
        const most = about === 'connection' || about === 'timeout' ? TRIES_ALONE[about] : 1;
        if (tries >= most) return sameResult(executionIds, { kind: 'failed', error });
      }
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
