import { describeError } from '../shared/errors.ts';
import type { BacklogGroup } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import {
  type BacklogFigures,
  type BacklogJob,
  type BacklogPayload,
} from '../shared/queue/backlog-queue.ts';
import { bullmq } from '../shared/queue/packages.ts';
import { BACKLOG_QUEUE } from '../shared/queue/queue-names.ts';
import type { RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { drainBacklog } from './backlog-job.ts';
import { LostAnswers } from './lost-answers.ts';
import {
  watchWorker,
  workerOptions,
  type WatchedWorker,
  type WorkerParts,
} from './watched-worker.ts';

/** Finished jobs kept for the board, for each way to finish. */
const KEPT = 100;

interface Parts extends WorkerParts {
  /** Has a connection of its own, so that neither lane waits for the other. */
  readonly database: Database;
  /** The express lane's queue, with the `failFast` profile, for what is handed over. */
  readonly queue: RefreshQueue;
}

/**
 * Creates the worker of the backlog lane, which runs one job at a time. At least once: a batch is
 * committed before its figures count, and a job that is lost with its worker goes to another one.
 */
export function createBacklogWorker(parts: Parts): WatchedWorker {
  const { stores, recorder, log } = parts;
  const stop = new AbortController();
  const cursor = new OutboxCursor();

  const onBatch = (groups: readonly BacklogGroup[], ms: number): void => {
    recorder.statement(ms);
    stores.postgres.reportServed();
    recorder.batch(groups.reduce((sum, { lagsMs }) => sum + lagsMs.length, 0));
    for (const group of groups) {
      // The express lane counts these.
      if (group.outcome === 'busy') continue;
      recorder.claimed(group.lagsMs.length);
      recorder.refreshed('backlog', group);
    }
  };

  const process = async (job: BacklogJob, token?: string): Promise<BacklogFigures> => {
    const run = await drainBacklog({ ...parts, cursor, onBatch }, stop.signal, (figures) =>
      job.updateProgress({ ...figures }),
    ).finally(() => lostAnswers.release(job.id));
    if (run.kind === 'done') return run.figures;
    stores.postgres.reportUnavailable(run.error);
    // moveToWait uses no attempt.
    await job.moveToWait(token);
    throw new bullmq.WaitingError();
  };

  const lostAnswers = new LostAnswers(parts.redis, log);
  const worker = new bullmq.Worker<BacklogPayload, BacklogFigures, 'drain'>(
    BACKLOG_QUEUE,
    process,
    {
      ...workerOptions(parts),
      concurrency: 1,
      removeOnComplete: { count: KEPT },
      removeOnFail: { count: KEPT },
    },
    lostAnswers.createBackend,
  );
  worker.on('failed', (job, error) =>
    log.error(`${job?.id ?? 'a job'} of the backlog failed: ${describeError(error)}`),
  );
  lostAnswers.watch(worker, parts.stores);
  const watched = watchWorker(worker, parts);
  return {
    start: () => watched.start(),
    get running() {
      return watched.running;
    },
    get connected() {
      return watched.connected;
    },
    close: async () => {
      stop.abort();
      await watched.close();
    },
  };
}
