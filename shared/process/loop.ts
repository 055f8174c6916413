import type { Outage } from './outage.ts';
import { backoffMs, pause } from './wait.ts';

/** The wait after a step that had nothing to try, and therefore says nothing about an outage. */
export interface Idle {
  readonly idleMs: number;
}

interface Duty {
  /**
   * One turn of the duty; it should end soon after the signal aborts.
   * @returns milliseconds until the next turn; undefined: there is none
   * @throws if a store is unavailable
   */
  readonly step: (signal: AbortSignal) => Promise<number | Idle | undefined>;
  /**
   * Begins when a step throws and ends when one succeeds. Without it, the step itself logs what it
   * throws.
   */
  readonly outage?: Pick<Outage, 'begin' | 'end'>;
  /**
   * Released after a step that throws, so that another process may try, and at the end. Never
   * rejects.
   */
  readonly lease?: { release(): Promise<void> };
  /**
   * The first and the longest wait after steps that throw, in milliseconds; 250 and 5,000 by
   * default.
   */
  readonly retry?: { readonly firstMs: number; readonly maxMs: number };
}

/** A duty that runs in the background. */
export interface Loop {
  /** Stops after the step in hand. */
  close(): Promise<void>;
}

/** Runs a duty in the background until it is closed. */
export function startLoop(duty: Duty): Loop {
  const stop = new AbortController();
  const ended = runLoop({ ...duty, signal: stop.signal });
  return {
    close: async () => {
      stop.abort();
      await ended;
    },
  };
}

/**
 * Runs step after step until the signal aborts or a step returns undefined. The wait between them
 * is what the step asks for, or a growing backoff while steps throw. Never rejects.
 */
export async function runLoop(duty: Duty & { readonly signal: AbortSignal }): Promise<void> {
  const { step, outage, lease, signal, retry = { firstMs: 250, maxMs: 5_000 } } = duty;
  let failures = 0;
  while (!signal.aborted) {
    let restMs: number;
    try {
      const next = await step(signal);
      failures = 0;
      if (typeof next !== 'object') outage?.end();
      if (next === undefined) break;
      restMs = typeof next === 'object' ? next.idleMs : next;
    } catch (error) {
      failures++;
      restMs = backoffMs(failures, retry.firstMs, retry.maxMs);
      outage?.begin(error);
      await lease?.release();
    }
    if (restMs > 0) await pause(restMs, signal);
  }
  await lease?.release();
}
