import {
  claimExecutions,
  oldestExecutions,
  refreshBacklog,
  type BacklogGroup,
} from '../shared/postgres/backlog.ts';
import { releaseRows } from '../shared/postgres/outbox.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { BacklogFigures } from '../shared/queue/backlog-queue.ts';
import { countJobs, enqueueRefreshes, type RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { attempt, type Attempt, type Probe } from './attempt.ts';

/** Rows per statement. Larger batches hold locks for longer and are hardly faster. */
const BATCH_ROWS = 1_000;
// Long enough that a job's own Redis commands don't matter, short enough that neither a stop nor
// another worker has to wait.
const RUN_MS = 2_000;
const PROGRESS_MS = 500;

interface Parts {
  readonly config: Config;
  /** Has a connection of its own, so that neither lane waits for the other. */
  readonly database: Database;
  readonly cursor: OutboxCursor;
  readonly probe: Probe;
  /** The express lane's queue, for what is handed over. */
  readonly queue: RefreshQueue;
  /** Called after each statement that refreshed something. */
  readonly onBatch: (groups: readonly BacklogGroup[], ms: number) => void;
}

/** How a run ended: with what it did, or with the error of an unavailable store. */
export type BacklogRun =
  | { readonly kind: 'done'; readonly figures: BacklogFigures }
  | { readonly kind: 'unavailable'; readonly error: Error };

/**
 * Drains the backlog for about two seconds or until nothing is left: oldest rows first, one batch
 * per statement, each committed before the next. At least once: what a killed worker hadn't
 * committed is still there.
 *
 * What can't be done here never holds up what can. The executions of a batch that fails, and those
 * that another transaction holds, are handed to the express lane. There a batch is split, a job is
 * retried, and what fails for good ends where a person finds it. The rows are marked as sent before
 * the jobs are added; after a crash in between they are resent after `RESEND_AFTER_MS`.
 * @param onProgress called twice a second with the figures so far; its errors are ignored
 */
export async function drainBacklog(
  parts: Parts,
  signal: AbortSignal,
  onProgress: (figures: BacklogFigures) => Promise<unknown>,
): Promise<BacklogRun> {
  const beginMs = performance.now();
  const elapsedMs = (): number => Math.round(performance.now() - beginMs);
  const figures = { refreshed: 0, changed: 0, unchanged: 0, noTasks: 0, missing: 0, handedOver: 0 };
  let nextProgressMs = beginMs + PROGRESS_MS;
  for (let isFirst = true; !signal.aborted && elapsedMs() < RUN_MS; isFirst = false) {
    const batch = await refreshOldest(parts, isFirst);
    if (batch.kind === 'unavailable') return batch;
    if (batch.kind === 'done') {
      if (batch.result.length === 0) break;
      for (const { outcome, lagsMs } of batch.result) {
        if (outcome === 'busy') continue;
        figures.refreshed += lagsMs.length;
        figures[outcome === 'no_tasks' ? 'noTasks' : outcome] += lagsMs.length;
      }
    }
    const handedOver = await handOver(parts, batch);
    if (handedOver.kind === 'unavailable') return handedOver;
    // What can't be handed over stays at the head of the backlog, so this job can't get past it.
    // The next job tries again.
    if (handedOver.kind !== 'done') break;
    figures.handedOver += handedOver.result;
    if (performance.now() >= nextProgressMs) {
      nextProgressMs = performance.now() + PROGRESS_MS;
      // The progress is only for display, and the connection logs why Redis doesn't take it.
      await onProgress({ ...figures, ms: elapsedMs() }).catch(() => undefined);
    }
  }
  return { kind: 'done', figures: { ...figures, ms: elapsedMs() } };
}

/**
 * What a statement did. `failed`: one of the oldest executions can't be refreshed, and it isn't
 * known which.
 */
type Batch = Attempt<readonly BacklogGroup[]> & { readonly fromS: number | undefined };

async function refreshOldest(parts: Parts, isFirst: boolean): Promise<Batch> {
  const { config, database, cursor, probe, onBatch } = parts;
  const beginMs = performance.now();
  let fromS: number | undefined;
  const tried = await attempt(probe, () =>
    cursor.look((from) => {
      fromS = from;
      return refreshBacklog(database, BATCH_ROWS, config.BACKLOG_AFTER_MS, from);
    }, !isFirst),
  );
  if (tried.kind !== 'done') return { ...tried, fromS };
  const { groups } = tried.result;
  if (groups.length > 0) onBatch(groups, performance.now() - beginMs);
  return { kind: 'done', result: groups, fromS };
}

/**
 * Puts on the express lane what a batch left over. For this, that lane may grow to twice
 * QUEUE_HIGH_WATER: the relay keeps it filled up to there, and would leave no room. If Redis
 * doesn't take the jobs, the rows stay in the backlog.
 * @returns the number of executions handed over
 */
async function handOver(
  { config, database, probe, queue }: Parts,
  batch: Batch,
): Promise<Attempt<number> | { readonly kind: 'refused' }> {
  const busy = batch.kind === 'done' ? batch.result.flatMap(({ busyIds }) => busyIds) : [];
  if (batch.kind === 'done' && busy.length === 0) return { kind: 'done', result: 0 };
  const waiting = await countJobs(queue).catch(() => undefined);
  if (waiting === undefined || waiting.waiting + waiting.delayed >= 2 * config.QUEUE_HIGH_WATER) {
    return { kind: 'refused' };
  }
  const claimed = await attempt(probe, async () =>
    claimExecutions(
      database,
      batch.kind === 'done'
        ? busy
        : await oldestExecutions(database, BATCH_ROWS, config.BACKLOG_AFTER_MS, batch.fromS),
    ),
  );
  if (claimed.kind !== 'done') return claimed;
  const { identities, rowIds } = claimed.result;
  try {
    await enqueueRefreshes(queue, identities);
  } catch {
    // The connection and the relay log what is wrong with Redis. Some jobs may be on the queue,
    // which is harmless.
    const released = await attempt(probe, () =>
      releaseRows(
        database,
        rowIds.map((rowId) => ({ rowId, waitMs: 0 })),
      ),
    );
    return released.kind === 'unavailable' ? released : { kind: 'refused' };
  }
  return { kind: 'done', result: identities.length };
}
