import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/**
 * Does something again and again, with a pause of so many milliseconds, until it is ended or the test is over. An error
 * ends it, and is thrown to whoever ends it.
 * @returns ends it, and resolves when the last time is over
 */
export function keepDoing(everyMs: number, act: () => Promise<unknown>): () => Promise<void> {
  const stop = new AbortController();
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await act();
      await delay(everyMs);
    }
  };
  const running = run();
  running.catch(() => undefined);
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  onTestFinished(end);
  return end;
}
