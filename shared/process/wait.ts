import { setTimeout as delay } from 'node:timers/promises';

/** Waits `ms` milliseconds, or less when the signal aborts; never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: true }).catch(() => undefined);
}

/**
 * The wait before try number `attempt` (from 1), in milliseconds: doubling from `baseMs` to `maxMs`,
 * less up to half of it by chance, so that many processes don't come back at the same moment.
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number): number {
  const full = Math.min(baseMs * 2 ** (attempt - 1), maxMs);
  return full * (0.5 + Math.random() / 2);
}
