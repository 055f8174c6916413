import type { Identity } from '../shared/execution.ts';
import {
  enqueueRefreshes,
  readPayload,
  type RefreshJob,
  type RefreshQueue,
} from '../shared/refresh-queue.ts';

// So many jobs, with their stack traces, are in memory at once, and so many commands on their way to Redis.
const PAGE = 500;

/**
 * Retries by hand every job that is failed now, a page at a time, the oldest first: the page's identities are put
 * on the queue again, then its failed jobs are removed. A crash in between leaves both, never neither.
 * Several failed jobs of one identity become one job.
 * @returns how many were retried, and how many stay because they are no refreshes
 */
export async function retryAllFailed(
  queue: RefreshQueue,
): Promise<{ readonly retried: number; readonly skipped: number }> {
  // Those that fail anew meanwhile come after these.
  const total = await queue.getFailedCount();
  let retried = 0;
  let skipped = 0;
  while (retried + skipped < total) {
    // What is skipped stays at the front.
    const page = await queue.getJobs(['failed'], skipped, skipped + PAGE - 1, true);
    if (page.length === 0) break;
    const jobs: RefreshJob[] = [];
    const identities: Identity[] = [];
    for (const job of page) {
      const identity = identityOf(job);
      if (identity === undefined) skipped++;
      else {
        jobs.push(job);
        identities.push(identity);
      }
    }
    await enqueueRefreshes(queue, identities);
    await Promise.all(jobs.map((job) => job.remove()));
    retried += jobs.length;
  }
  return { retried, skipped };
}

function identityOf(job: { readonly data: unknown } | undefined): Identity | undefined {
  try {
    return readPayload(job?.data);
  } catch {
    return undefined;
  }
}
