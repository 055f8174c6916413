import { setTimeout as delay } from 'node:timers/promises';

/** Waits `ms` milliseconds, or until the signal aborts; never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: true }).catch(() => undefined);
}

/**
 * The wait before attempt number `attempt` (from 1), in milliseconds: doubling from `baseMs` up to
 * `maxMs`, minus a random part of up to half, so that many processes don't come back at the same
 * moment.
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number): number {
  const full = Math.min(baseMs * 2 ** (attempt - 1), maxMs);
  return full * (0.5 + Math.random() / 2);
}
