import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 20;

/** What a machine with ten times as much to do as it has cores adds to a time limit; a hang takes longer. */
export const BUSY_MACHINE_MS = 10_000;

/** How long after the end of an outage all works again, at the latest. */
export const WORKS_AGAIN_MS = 10_000 + BUSY_MACHINE_MS;

/**
 * Waits until a condition gives something other than undefined, null or false, and gives that.
 * @throws after `timeoutMs` milliseconds, saying what was waited for
 */
export async function until<T>(
  what: string | (() => string),
  condition: () => T | Promise<T>,
  timeoutMs = 60_000,
): Promise<NonNullable<T>> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const value = await unlessLate(condition);
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > endMs) {
      const text = typeof what === 'string' ? what : what();
      throw new Error(`waited ${timeoutMs} ms in vain: ${text}; last seen ${String(value)}`);
    }
    await delay(POLL_MS);
  }
}

/** What a condition gives; undefined if a look of its own at Redis took longer than its connection waits. */
async function unlessLate<T>(condition: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await condition();
  } catch (error) {
    if (error instanceof Error && error.message === 'Command timed out') return undefined;
    throw error;
  }
}
