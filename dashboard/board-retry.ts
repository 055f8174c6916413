import { setTimeout as sleep } from 'node:timers/promises';
import type { RequestHandler } from 'express';
import type { FailureStores } from '../shared/failures/standing-failures.ts';
import { nameSubject } from './audit.ts';
import { visitorOf } from './auth.ts';
import { retryOf } from './repair/repair-work.ts';
import { nameOf, whyNotNow, type Repairs } from './repair/repairs.ts';

// Enough for some thousand failed jobs. The board says "retrying" until the answer comes.
const PATIENCE_MS = 400;

/**
 * Handler of "Retry all" on the board. It begins the same repair as the page of all failures, which
 * goes on in the background: 200 if it ends at once, else 202, both with what was retried so far.
 */
export function retryAllFailed(
  parts: FailureStores & { readonly repairs: Repairs },
): RequestHandler {
  const { repairs } = parts;
  return async (_request, response) => {
    nameSubject(response, nameOf('failures'));
    const ended = repairs.begin('failures', visitorOf(response).user, retryOf(parts));
    if (ended === undefined) {
      // The board shows both, as title and as text.
      response.status(409).json({ error: 'Not now', message: whyNotNow(repairs) });
      return;
    }
    const patience = sleep(PATIENCE_MS, undefined, { ref: false });
    const repair = await Promise.race([ended, patience.then(() => repairs.newest)]);
    const { progress, problem, endedMs } = repair ?? (await ended);
    if (problem === undefined) {
      const { done: retried, left: skipped } = progress;
      response.status(endedMs === undefined ? 202 : 200).json({ retried, skipped });
      return;
    }
    const message = `It ended early: ${problem}. Asked for ${progress.done} refreshes; begin it again for the rest.`;
    response.status(503).json({ error: 'Not all were retried', message });
  };
}
