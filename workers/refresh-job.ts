import { describeError } from '../shared/errors.ts';
import type { Identity } from '../shared/execution.ts';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { Logger } from '../shared/process/logger.ts';
import { bullmq } from '../shared/queue/packages.ts';
import { readPayload, type RefreshJob } from '../shared/queue/refresh-queue.ts';
import type { Batcher } from './batcher.ts';
import { settleFailure, type FailureEnd } from './failed-for-good.ts';
import type { Recorder } from './recorder.ts';
import type { RefreshReport } from './refresh-executions.ts';
import type { StoreWatches } from './store-watches.ts';

interface Parts {
  readonly config: Config;
  readonly database: Database;
  readonly batcher: Pick<Batcher, 'refresh'>;
  readonly stores: Pick<StoreWatches, 'postgres'>;
  readonly recorder: Recorder;
  readonly log: Logger;
}

/** The identity that a job asks to refresh, or why it can't be read. */
type Payload = { readonly identity: Identity } | { readonly unreadable: Error };

/** How a job's run ends. */
type JobEnd = { readonly kind: 'done'; readonly report: RefreshReport } | FailureEnd;

/**
 * Runs the jobs of the express lane, each as a pipe of steps: parse, batch, settle, record. Then
 * BullMQ is told how it ended. At least once: a job completes only after its refresh was committed.
 */
export class RefreshJobs {
  readonly #parts: Parts;
  // Of jobs that failed, until BullMQ's `failed` event, which passes the same object that was run.
  readonly #payloads = new WeakMap<RefreshJob, Payload>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Runs one job.
   * @throws what tells BullMQ that the job isn't done: its error, or WaitingError if it was given
   *   back
   */
  async run(job: RefreshJob, token?: string): Promise<void> {
    this.#parts.recorder.claimed(1);
    const payload = parsePayload(job.data);
    const end = await this.#settle(job, payload);
    if (end.kind !== 'done') this.#payloads.set(job, payload);
    this.#record(payload, end);
    await tellQueue(job, token, end, this.#parts.config);
  }

  /**
   * Records that BullMQ has moved a failed job, either to a later attempt or to the failed jobs.
   */
  failed(job: RefreshJob, error: Error): void {
    // One that BullMQ failed without running it has not been read yet.
    const payload = this.#payloads.get(job) ?? parsePayload(job.data);
    this.#parts.recorder.failed('identity' in payload ? payload.identity.vendor : undefined);
    // BullMQ sets this only on a job that won't be retried.
    if (job.finishedOn === undefined) return;
    this.#parts.log.error(`${job.id} failed for good: ${describeError(error)}`);
  }

  async #settle(job: RefreshJob, payload: Payload): Promise<JobEnd> {
    // A retry would read the same payload.
    if ('unreadable' in payload) return { kind: 'for good', error: payload.unreadable };
    const result = await this.#parts.batcher.refresh(payload.identity.executionId);
    switch (result.kind) {
      case 'refreshed':
        return { kind: 'done', report: result.report };
      case 'failed':
        return settleFailure(job, payload.identity, result.error, this.#parts);
      case 'unavailable':
        return { kind: 'given back', outage: result.error };
    }
  }

  #record(payload: Payload, end: JobEnd): void {
    const { stores, recorder } = this.#parts;
    if (end.kind === 'given back' && end.outage !== undefined)
      stores.postgres.reportUnavailable(end.outage);
    if (end.kind !== 'done' || 'unreadable' in payload) return;
    stores.postgres.reportServed();
    const { outcome, source, lagMs } = end.report;
    recorder.refreshed('express', {
      vendor: payload.identity.vendor,
      outcome,
      source,
      lagsMs: [lagMs],
    });
  }
}

function parsePayload(data: unknown): Payload {
  try {
    return { identity: readPayload(data) };
  } catch (error) {
    return { unreadable: new Error(describeError(error)) };
  }
}

async function tellQueue(
  job: RefreshJob,
  token: string | undefined,
  end: JobEnd,
  config: Config,
): Promise<void> {
  switch (end.kind) {
    case 'done':
      return;
    case 'again':
      // Attempts and backoff are set by the worker that runs the job instead of stored in each job.
      // That saves 65 bytes per waiting job, and a changed JOB_ATTEMPTS applies to jobs that
      // already wait.
      job.opts.attempts = config.JOB_ATTEMPTS;
      job.opts.backoff = { type: 'exponential', delay: 1_000, jitter: 0.5 };
      throw end.error;
    case 'for good':
      throw new bullmq.UnrecoverableError(end.error.message);
    case 'given back':
      // moveToWait uses no attempt.
      await job.moveToWait(token);
      throw new bullmq.WaitingError();
  }
}
