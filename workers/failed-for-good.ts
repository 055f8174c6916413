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
 * What becomes of a job whose refresh has not been done. `again`: after a backoff, at the cost of an attempt; `for good`:
 * it is left to a person; `given back`: it waits again at no cost, because Postgres is unavailable (`away` says why) or
 * could not record the failure now.
 */
export type FailureEnd =
  | { readonly kind: 'again' | 'for good'; readonly error: Error }
  | { readonly kind: 'given back'; readonly away: Error | undefined };

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
      return { kind: 'given back', away: kind === 'contention' ? undefined : cause };
    }
    // It fails all the same, or it would be tried for ever; the failed-janitor records it from its job.
    parts.log.error(`the failure of ${job.id} was not recorded: ${describeError(thrown)}`);
  }
  return { kind: 'for good', error: bounded(error) };
}

/** An error as it is stored with its job, twice and once more for each attempt: the message and its stack. */
function bounded(error: Error): Error {
  const text = describeError(error);
  if (text.length <= ERROR_MAX) return error;
  const short = new Error(`${text.slice(0, ERROR_MAX)}… (${text.length} characters)`);
  delete short.stack;
  return short;
}
