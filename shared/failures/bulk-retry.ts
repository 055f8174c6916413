import { formatIdentity, type Identity } from '../execution.ts';
import { removeFailed } from '../queue/failed-jobs.ts';
import type { Failure } from '../queue/failure-causes.ts';
import { causeOf, foldError } from '../queue/fold-error.ts';
import { failurePages, type FailureStores } from './standing-failures.ts';
import { enqueueRefreshes } from '../queue/refresh-queue.ts';

// Identities remembered as retried, at about 100 bytes each. Forgetting them costs an identity with
// many failed jobs one more run.
const REMEMBERED_MAX = 100_000;

/** Selects the failures that meet every given condition. */
export interface FailureSelection {
  readonly executionId?: number | undefined;
  readonly vendor?: string | undefined;
  /**
   * Part of the message, as it is, folded by {@link foldError}, or as the cause that
   * {@link causeOf} names.
   */
  readonly error?: string | undefined;
  /** The cause that {@link causeOf} names, exactly. */
  readonly cause?: string | undefined;
}

/** Whether a failure meets every condition of a selection. */
export function isSelected(selection: FailureSelection, failure: Failure): boolean {
  const { identity, error } = failure;
  const { executionId, vendor, error: part, cause } = selection;
  return (
    (executionId === undefined || identity?.executionId === executionId) &&
    (vendor === undefined || identity?.vendor === vendor) &&
    (cause === undefined || causeOf(failure) === cause) &&
    (part === undefined ||
      [error, foldError(error), causeOf(failure)].some((text) => text.includes(part)))
  );
}

/** What a bulk retry has done so far. */
export interface BulkRetryProgress {
  /** Failures whose executions were put on the queue, or would be in a dry run. */
  readonly retried: number;
  /** Selected failures that were left, because their data is no refresh. */
  readonly noRefresh: number;
  /** Records and failed jobs examined. */
  readonly seen: number;
}

interface BulkRetryOptions {
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  readonly onPage?: (progress: BulkRetryProgress) => void;
}

/**
 * Retries everything selected that failed before the call. Page by page, it puts the identities on
 * the queue again and then removes the failed jobs that Redis still has. An identity is enqueued
 * once, however many failed jobs it has. The records in Postgres stay until a refresh succeeds, so
 * whatever Redis loses from here on, the failure is still shown and can be retried.
 *
 * If it ends early (a crash, an unavailable Redis, or the signal, which stops it after the page in
 * hand), no failed job is gone whose identity isn't on the queue, and it is safe to repeat.
 * @throws an error from `pg` or `ioredis`
 */
export async function retryInBulk(
  stores: FailureStores,
  selection: FailureSelection,
  { dryRun, signal, onPage }: BulkRetryOptions = {},
): Promise<BulkRetryProgress> {
  let progress: BulkRetryProgress = { retried: 0, noRefresh: 0, seen: 0 };
  let enqueued = new Set<string>();
  // Of the page before, while the next one is enqueued: the client and Redis both work all the time.
  let removing: Promise<unknown> = Promise.resolve();
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
    if (dryRun !== true) {
      await enqueueRefreshes(stores.queue, [...fresh.values()]);
      await removing;
      if (enqueued.size > REMEMBERED_MAX) enqueued = new Set();
      for (const name of fresh.keys()) enqueued.add(name);
    }
    const removed = dryRun === true ? Promise.resolve(0) : removeFailed(stores, jobIds);
    removing = removed.then(() => {
      progress = {
        retried: progress.retried + jobIds.length,
        noRefresh: progress.noRefresh + selected.length - jobIds.length,
        seen: progress.seen + page.seen,
      };
      onPage?.(progress);
    });
    // Awaited with the next page or below; until then nobody handles its error.
    removing.catch(() => undefined);
    if (signal?.aborted === true) break;
  }
  await removing;
  return progress;
}
