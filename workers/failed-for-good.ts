import { DatabaseError } from 'pg';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import { describeError } from '../shared/errors.ts';
import type { Identity } from '../shared/execution.ts';
import { classifyError } from '../shared/postgres/error-kinds.ts';
import { ERROR_MAX, recordFailure } from '../shared/postgres/failures.ts';
import type { Logger } from '../shared/process/logger.ts';
import type { RefreshJob } from '../shared/queue/refresh-queue.ts';

/**
 * What becomes of a job whose refresh wasn't done. `again`: retried after a backoff, at the cost of
 * an attempt. `for good`: left to a person. `given back`: it waits again at no cost, because
 * Postgres is unavailable (`outage` says why) or could not record the failure now.
 */
export type FailureEnd =
  | { readonly kind: 'again' | 'for good'; readonly error: Error }
  | { readonly kind: 'given back'; readonly outage: Error | undefined };

/**
 * Decides whether a job has failed for good, and records it before BullMQ moves the job. Nothing
 * else decides that. What a crash leaves:
 * - Before the record is committed: a running job. Another worker recovers and retries it.
 * - After that, before BullMQ has moved the job: the record and the running job. The job is
 *   retried; if it succeeds, its refresh supersedes the record, and if it fails, the same job is
 *   recorded again.
 * - After both: the record and its copy, the failed job. Whether Redis keeps the copy doesn't
 *   matter.
 *
 * The outbox rows that the job was sent for are deleted with the record's commit, so no crash
 * leaves a change that nobody knows of.
 * @param error why the refresh failed
 */
export async function settleFailure(
  job: RefreshJob,
  identity: Identity,
  error: Error,
  parts: { readonly config: Config; readonly database: Database; readonly log: Logger },
): Promise<FailureEnd> {
  const attempts = job.attemptsMade + 1;
  if (attempts < parts.config.JOB_ATTEMPTS) return { kind: 'again', error: bounded(error) };
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
      return { kind: 'given back', outage: kind === 'contention' ? undefined : cause };
    }
    // The job fails even so, or it would be retried for ever. The failed-janitor records it later.
    parts.log.error(`the failure of ${job.id} was not recorded: ${describeError(thrown)}`);
  }
  return { kind: 'for good', error: bounded(error) };
}

/**
 * Shortens an error: BullMQ stores message and stack with the job, twice and once more per attempt.
 */
function bounded(error: Error): Error {
  const text = describeError(error);
  if (text.length <= ERROR_MAX) return error;
  const short = new Error(`${text.slice(0, ERROR_MAX)}… (${text.length} characters)`);
  delete short.stack;
  return short;
}
