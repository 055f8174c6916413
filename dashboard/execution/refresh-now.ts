import { describeError } from '../../shared/errors.ts';
import { formatIdentity, type Identity } from '../../shared/execution.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { forgetHostWords } from '../../shared/postgres/outbox.ts';
import type { Logger } from '../../shared/process/logger.ts';
import { enqueueRefreshes, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { inTime } from '../page.ts';

/** Why nothing, or perhaps nothing, was put on the queue. */
export interface RefreshProblem {
  readonly code: 'DATABASE_AWAY' | 'REDIS_REFUSED' | 'REDIS_AWAY';
  readonly text: string;
}

/**
 * Puts refreshes straight on the queue: in the outbox they would wait behind a backlog. A person's
 * request overrides a status that the host stored by hand. Never rejects.
 */
export async function refreshNow(
  stores: { readonly database: Database; readonly queue: RefreshQueue; readonly log: Logger },
  identities: readonly Identity[],
): Promise<RefreshProblem | undefined> {
  const what = identities.map(formatIdentity).join(', ');
  const ids = identities.map(({ executionId }) => executionId);
  const overruled = await inTime(forgetHostWords(stores.database, ids));
  if ('problem' in overruled) {
    stores.log.warn(`${what} was not put on the queue: ${describeError(overruled.problem)}`);
    const text = 'Postgres does not answer; nothing was asked for, try again.';
    return { code: 'DATABASE_AWAY', text };
  }
  const added = await inTime(enqueueRefreshes(stores.queue, identities));
  if (!('problem' in added)) return undefined;
  stores.log.warn(`${what} was not put on the queue: ${describeError(added.problem)}`);
  // An error from Redis means that nothing was done. Without an answer, the command may still be
  // carried out later.
  return isAnswer(added.problem)
    ? {
        code: 'REDIS_REFUSED',
        text: `Redis refused it (${describeError(added.problem)}); nothing was asked for.`,
      }
    : {
        code: 'REDIS_AWAY',
        text: 'Redis did not answer, so it is not known whether the refresh is on the queue. Asking again is harmless.',
      };
}

/** Whether Redis answered with this error, as opposed to not answering. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
}
