import {
  claimExecutions,
  claimOldest,
  refreshBacklog,
  type BacklogGroup,
} from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { BacklogFigures } from '../shared/queue/backlog-queue.ts';
import { countJobs, enqueueRefreshes, type RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { attempt, type Attempt, type Probe } from './attempt.ts';

/** Rows that one statement takes: larger batches hold locks for longer and are hardly faster. */
const BATCH_ROWS = 500;
// Long enough that a job's own commands to Redis cost nothing, short enough that a stop or another worker doesn't wait.
const RUN_MS = 2_000;
const PROGRESS_MS = 500;

interface Parts {
  readonly config: Config;
  /** Of one connection, so that express batches and backlog never wait for each other's. */
  readonly database: Database;
  readonly cursor: OutboxCursor;
  readonly probe: Probe;
  /** The express lane's, for what is handed over. */
  readonly queue: RefreshQueue;
  /** Told of each statement. */
  readonly onBatch: (groups: readonly BacklogGroup[], ms: number) => void;
}

/** How a run ended: with what it did, or with the error of a store that is unavailable. */
export type BacklogRun =
  | { readonly kind: 'done'; readonly figures: BacklogFigures }
  | { readonly kind: 'unavailable'; readonly error: Error };

/**
 * Drains the backlog for about two seconds, or until nothing is left: oldest rows first, a batch in each statement,
 * which is committed before the next begins. At least once: what a killed worker had not committed is still there.
 *
 * What can't be done here never holds up what can. The executions of a batch that fails, and those that another
 * transaction holds, are handed to the express lane, where a batch is split, a job is tried again, and what fails for
 * good ends where a person finds it. Their rows are marked as sent before the jobs are added: a crash in between
 * has them sent again after `RESEND_AFTER_MS`.
 * @param onProgress told twice a second how far it has come
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
  while (!signal.aborted && elapsedMs() < RUN_MS) {
    const batch = await refreshOldest(parts);
    if (batch.kind === 'unavailable') return batch;
    const groups = batch.kind === 'done' ? batch.result : [];
    for (const { outcome, executionIds } of groups) {
      if (outcome === 'busy') continue;
      figures.refreshed += executionIds.length;
      figures[outcome === 'no_tasks' ? 'noTasks' : outcome] += executionIds.length;
    }
    if (batch.kind === 'done' && groups.length === 0) break;
    const handedOver = await handOver(parts, batch);
    if (handedOver.kind === 'unavailable') return handedOver;
    // Rows that can't be handed over stay the oldest, so this job gets no further.
    if (handedOver.kind !== 'done') break;
    figures.handedOver += handedOver.result;
    if (performance.now() >= nextProgressMs) {
      nextProgressMs = performance.now() + PROGRESS_MS;
      await onProgress({ ...figures, ms: elapsedMs() });
    }
  }
  return { kind: 'done', figures: { ...figures, ms: elapsedMs() } };
}

/** One statement. `failed`: one of the oldest executions can't be refreshed, and nobody knows which. */
async function refreshOldest(parts: Parts): Promise<Attempt<readonly BacklogGroup[]>> {
  const { config, database, cursor, probe, onBatch } = parts;
  const beginMs = performance.now();
  const tried = await attempt(probe, () =>
    cursor.look((fromS) => refreshBacklog(database, BATCH_ROWS, config.BACKLOG_AFTER_MS, fromS)),
  );
  if (tried.kind !== 'done') return tried;
  const { groups } = tried.result;
  if (groups.length > 0) onBatch(groups, performance.now() - beginMs);
  return { kind: 'done', result: groups };
}

/**
 * Puts on the express lane what a batch has left.
 * @returns how many executions
 * @throws the error of ioredis; the rows count as sent then, and are sent again after `RESEND_AFTER_MS`
 */
async function handOver(
  { config, database, probe, queue }: Parts,
  batch: Attempt<readonly BacklogGroup[]>,
): Promise<Attempt<number> | { readonly kind: 'full' }> {
  const busy =
    batch.kind === 'done'
      ? batch.result.flatMap(({ outcome, executionIds }) =>
          outcome === 'busy' ? executionIds : [],
        )
      : [];
  if (batch.kind === 'done' && busy.length === 0) return { kind: 'done', result: 0 };
  const { waiting, delayed } = await countJobs(queue);
  if (waiting + delayed >= config.QUEUE_HIGH_WATER) return { kind: 'full' };
  const claimed = await attempt(probe, () =>
    batch.kind === 'done'
      ? claimExecutions(database, busy)
      : claimOldest(database, BATCH_ROWS, config.BACKLOG_AFTER_MS),
  );
  if (claimed.kind !== 'done') return claimed;
  await enqueueRefreshes(queue, claimed.result);
  return { kind: 'done', result: claimed.result.length };
}
