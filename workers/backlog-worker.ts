import type { Redis } from 'ioredis';
import { describeError } from '../shared/errors.ts';
import type { BacklogGroup } from '../shared/postgres/backlog.ts';
import type { Database } from '../shared/postgres/database.ts';
import { OutboxCursor } from '../shared/postgres/outbox-cursor.ts';
import type { Config } from '../shared/process/config.ts';
import type { Logger } from '../shared/process/logger.ts';
import {
  type BacklogFigures,
  type BacklogJob,
  type BacklogPayload,
} from '../shared/queue/backlog-queue.ts';
import { bullmq } from '../shared/queue/packages.ts';
import { BACKLOG_QUEUE } from '../shared/queue/queue-names.ts';
import { JOB_WAIT_S } from '../shared/queue/job-wait.ts';
import { bullmqOptions, type RefreshQueue } from '../shared/queue/refresh-queue.ts';
import type { Probe } from './attempt.ts';
import { drainBacklog } from './backlog-job.ts';
import { LostAnswers } from './lost-answers.ts';
import type { Recorder } from './recorder.ts';
import type { StoreWatches } from './store-watches.ts';
import { watchWorker, type WatchedWorker } from './watched-worker.ts';

/** Finished jobs kept for the board, for each way to finish. */
const KEPT = 100;

interface Parts {
  readonly config: Config;
  /** With the `patient` profile. BullMQ duplicates it for its blocking wait. */
  readonly redis: Redis;
  /** Has a connection of its own, so that neither lane waits for the other. */
  readonly database: Database;
  readonly probe: Probe;
  /** The express lane's queue, with the `failFast` profile, for what is handed over. */
  readonly queue: RefreshQueue;
  readonly stores: StoreWatches;
  readonly recorder: Recorder;
  readonly log: Logger;
  readonly name: string;
}

/**
 * Creates the worker of the backlog lane, which runs one job at a time. At least once: a batch is
 * committed before its figures count, and a job that is lost with its worker goes to another one.
 */
export function createBacklogWorker(parts: Parts): WatchedWorker {
  const { config, stores, recorder, log } = parts;
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
      recorder.refreshed(group);
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
      ...bullmqOptions(config, parts.redis),
      name: parts.name,
      autorun: false,
      concurrency: 1,
      drainDelay: JOB_WAIT_S,
      lockDuration: config.LOCK_DURATION_MS,
      stalledInterval: config.STALLED_INTERVAL_MS,
      maxStalledCount: 1_000,
      removeOnComplete: { count: KEPT },
      removeOnFail: { count: KEPT },
    },
    lostAnswers.createBackend,
  );
  worker.on('failed', (job, error) =>
    log.error(`${job?.id ?? 'a job'} of the backlog failed: ${describeError(error)}`),
  );
  worker.on('stalled', () => recorder.recovered());
  lostAnswers.watch(worker);
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
