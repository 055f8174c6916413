import type { Outage } from './outage.ts';
import { backoffMs, pause } from './wait.ts';

/** How long to rest after a step that had nothing to try, so that it says nothing about an outage. */
export interface Idle {
  readonly idleMs: number;
}

interface Duty {
  /**
   * One turn of the duty; it should end soon after the signal aborts.
   * @returns milliseconds until the next one, or undefined: there is no next one
   * @throws when a store is unavailable
   */
  readonly step: (signal: AbortSignal) => Promise<number | Idle | undefined>;
  /** Begins with a step that throws, and ends with one that has worked. Without it, the step logs what it throws. */
  readonly outage?: Pick<Outage, 'begin' | 'end'>;
  /** Given back after a step that has thrown, so that another process may try, and at the end. Never rejects. */
  readonly lease?: { release(): Promise<void> };
  /** The first and the longest wait after steps that throw. */
  readonly retry?: { readonly firstMs: number; readonly maxMs: number };
}

/** A duty that goes on in the background. */
export interface Loop {
  /** Finishes the step in hand. */
  close(): Promise<void>;
}

/** Runs a duty until it is closed. */
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
 * Takes one step after the other until the signal aborts: as soon as each asks for, and with a growing backoff while
 * they throw. Never rejects.
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
