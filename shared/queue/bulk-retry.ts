import { formatIdentity, type Identity } from '../execution.ts';
import { removeFailed } from './failed-jobs.ts';
import { foldError, type Failure } from './failure-causes.ts';
import { failurePages, type FailureStores } from './failures.ts';
import { enqueueRefreshes } from './refresh-queue.ts';

// Identities that are remembered as retried, some 100 bytes each. Forgetting them costs one that has many
// failed jobs another run.
const REMEMBERED_MAX = 100_000;

/** Which failures: those to which everything that is given applies. */
export interface FailureSelection {
  readonly executionId?: number | undefined;
  readonly vendor?: string | undefined;
  /** A part of the message, as it is or as {@link foldError} folds it. */
  readonly error?: string | undefined;
}

export function isSelected(selection: FailureSelection, { identity, error }: Failure): boolean {
  const { executionId, vendor, error: part } = selection;
  return (
    (executionId === undefined || identity?.executionId === executionId) &&
    (vendor === undefined || identity?.vendor === vendor) &&
    (part === undefined || error.includes(part) || foldError(error).includes(part))
  );
}

/** What a retry in bulk has done so far. */
export interface BulkRetryProgress {
  /** Failures whose executions were put on the queue; in a dry run, that would be. */
  readonly retried: number;
  /** Selected ones that are left, because their data is no refresh. */
  readonly noRefresh: number;
  /** Records and failed jobs that were looked at. */
  readonly seen: number;
}

interface BulkRetryOptions {
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  readonly onPage?: (progress: BulkRetryProgress) => void;
}

/**
 * Retries by hand everything selected that has failed before it was called: page by page, the identities are put
 * on the queue again, then the failed jobs are removed, where Redis still has them. However many failed jobs an
 * identity has, it is put on the queue once. The records in Postgres stay: the refresh overtakes them when it
 * succeeds. So whatever Redis loses from here on, a failure is still shown and can be retried again.
 *
 * When it ends early (a crash, Redis unavailable, the signal, which ends it after the page in hand), no failed job is
 * gone whose identity isn't on the queue, and doing it again is harmless.
 * @throws the error of `pg` or ioredis
 */
export async function retryInBulk(
  stores: FailureStores,
  selection: FailureSelection,
  { dryRun, signal, onPage }: BulkRetryOptions = {},
): Promise<BulkRetryProgress> {
  let progress: BulkRetryProgress = { retried: 0, noRefresh: 0, seen: 0 };
  let enqueued = new Set<string>();
  for await (const page of failurePages(stores, selection.executionId)) {
    const selected = page.failures.filter((failure) => isSelected(selection, failure));
    const jobIds: string[] = [];
    const fresh = new Map<string, Identity>();
    for (const { jobId, identity } of selected) {
      if (identity === undefined) continue;
      jobIds.push(jobId);
      const name = formatIdentity(identity);
      if (!enqueued.has(name)) fresh.set(name, identity);
    }
    if (!dryRun) {
      await enqueueRefreshes(stores.queue, [...fresh.values()]);
      await removeFailed(stores, jobIds);
      if (enqueued.size > REMEMBERED_MAX) enqueued = new Set();
      for (const name of fresh.keys()) enqueued.add(name);
    }
    progress = {
      retried: progress.retried + jobIds.length,
      noRefresh: progress.noRefresh + selected.length - jobIds.length,
      seen: progress.seen + page.seen,
    };
    onPage?.(progress);
    if (signal?.aborted === true) break;
  }
  return progress;
}
