import { setTimeout as delay } from 'node:timers/promises';
import { classifyError, type ErrorKind } from '../shared/postgres/error-kinds.ts';
import { backoffMs } from '../shared/process/wait.ts';

/** Checks over a fresh connection that the database can finish a refresh; rejects if it can't. */
export type Probe = () => Promise<void>;

/**
 * The outcome of a statement. `failed`: one of its executions is to blame. `unavailable`: the
 * database can't serve anyone.
 */
export type Attempt<T> =
  | { readonly kind: 'done'; readonly result: T }
  | { readonly kind: 'failed'; readonly error: Error; readonly about: ErrorKind }
  | { readonly kind: 'unavailable'; readonly error: Error };

const CONTENTION_TRIES = 4;

/**
 * Runs a statement and, if it fails, finds out what is to blame: one of its executions, or a
 * database that can serve nobody. A lost connection or a timeout counts as an outage only if a
 * probe fails as well. Never rejects.
 */
export async function attempt<T>(probe: Probe, statement: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { kind: 'done', result: await withContentionTries(statement) };
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const about = classifyError(error);
    return (await isUnavailable(about, probe))
      ? { kind: 'unavailable', error }
      : { kind: 'failed', error, about };
  }
}

// Losing a deadlock is nobody's fault and over at once, so it doesn't cost an attempt.
async function withContentionTries<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (tries === CONTENTION_TRIES || classifyError(error) !== 'contention') throw error;
      await delay(backoffMs(tries, 10, 100));
    }
  }
}

async function isUnavailable(about: ErrorKind, probe: Probe): Promise<boolean> {
  switch (about) {
    case 'unavailable':
      return true;
    case 'connection':
    case 'timeout':
      return probe().then(
        () => false,
        () => true,
      );
    case 'execution':
    case 'contention':
      return false;
  }
}
