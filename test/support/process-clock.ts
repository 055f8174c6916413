import { onTestFinished, vi } from 'vitest';

/**
 * Puts the monotonic clock of this process under the test's control, until the test is over: it
 * goes on, and the returned function puts it ahead, as if the process had been held up for so many
 * milliseconds. The clocks of the stores go on as ever.
 */
export function controlClock(): (ms: number) => void {
  const now = performance.now.bind(performance);
  let aheadMs = 0;
  const spy = vi.spyOn(performance, 'now').mockImplementation(() => now() + aheadMs);
  onTestFinished(() => spy.mockRestore());
  return (ms) => {
    aheadMs += ms;
  };
}
