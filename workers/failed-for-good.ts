import { DatabaseError } from 'pg';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { describeError } from '../shared/errors.ts';
import type { Identity } from '../shared/execution.ts';
import { classifyError } from '../shared/postgres/error-kinds.ts';
import { ERROR_MAX, recordFailure } from '../shared/postgres/failures.ts';
import type { Logger } from '../shared/process/logger.ts';
import { bullmq } from '../shared/queue/bullmq.ts';
import type { RefreshJob } from '../shared/queue/refresh-queue.ts';

/**
 * What becomes of a job whose refresh has failed. `again`: throw the error, and BullMQ tries it again after a backoff;
 * `for good`: it is recorded, throw the error; `not recorded`: Postgres couldn't record it now, so the job must go back
 * without using an attempt.
 */
export type FailureDecision =
  | { readonly kind: 'again' | 'for good'; readonly error: Error }
  | { readonly kind: 'not recorded'; readonly error: Error; readonly unavailable: boolean };

/**
 * Decides whether a job has failed for good, the only place that does, and records it first. What a crash leaves:
 *
 * - before the record is committed: a job in hand. Another worker takes it back and tries it again.
 * - after it, before BullMQ has moved the job: a record, and the same job in hand. It is tried again: a refresh that
 *   succeeds overtakes the record, one that fails records the same job again.
 * - after both: a record and its copy, the failed job. Whether Redis keeps the copy doesn't matter.
 *
 * The outbox rows that the job was sent for go with the record, so none of these can leave a change that nobody knows of.
 */
export async function decideFailure(
  job: RefreshJob,
  identity: Identity,
  error: Error,
  parts: { readonly config: Config; readonly database: Database; readonly log: Logger },
): Promise<FailureDecision> {
  const attempts = job.attemptsMade + 1;
  if (attempts < parts.config.JOB_ATTEMPTS) {
    applyRetryPolicy(job, parts.config);
    return { kind: 'again', error: bounded(error) };
  }
  try {
    await recordFailure(parts.database, {
      ...identity,
      jobId: job.id ?? '',
      error: describeError(error),
      sqlState: error instanceof DatabaseError ? error.code : undefined,
      attempts,
      attemptMs: Date.now() - (job.processedOn ?? Date.now()),
    });
  } catch (thrown) {
    const kind = classifyError(thrown);
    if (kind !== 'execution') {
      const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
      return { kind: 'not recorded', error: cause, unavailable: kind !== 'contention' };
    }
    // It fails all the same, or it would be tried for ever; the failed-janitor records it from its job.
    parts.log.error(`the failure of ${job.id} was not recorded: ${describeError(thrown)}`);
  }
  return { kind: 'for good', error: new bullmq.UnrecoverableError(bounded(error).message) };
}

// Attempts and backoff are settled by the worker that runs the job, not stored in each of them:
// 65 bytes a waiting job, and a changed JOB_ATTEMPTS also counts for those already waiting.
function applyRetryPolicy(job: RefreshJob, config: Config): void {
  job.opts.attempts = config.JOB_ATTEMPTS;
  job.opts.backoff = { type: 'exponential', delay: 1_000, jitter: 0.5 };
}

/** An error as it is stored with its job, twice and once more for each attempt: the message and its stack. */
function bounded(error: Error): Error {
  const text = describeError(error);
  if (text.length <= ERROR_MAX) return error;
  const short = new Error(`${text.slice(0, ERROR_MAX)}… (${text.length} characters)`);
  delete short.stack;
  return short;
}
