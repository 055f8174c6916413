import { expect, it } from 'vitest';
import { backoffMs, pause } from '../../../../shared/process/wait.ts';

it.each([
  [1, 100],
  [2, 200],
  [3, 400],
  [5, 1_600],
  [6, 2_000],
  [2_000, 2_000],
])('the wait before try %d is from half of %d ms to all of it', (attempt, fullMs) => {
  const waits = Array.from({ length: 200 }, () => backoffMs(attempt, 100, 2_000));
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(fullMs / 2);
  expect(Math.max(...waits)).toBeLessThanOrEqual(fullMs);
});

it('two processes that begin to wait at the same moment come back at different ones', () => {
  expect(new Set(Array.from({ length: 50 }, () => backoffMs(4, 100, 2_000))).size).toBeGreaterThan(
    10,
  );
});

it('a pause of an hour ends at once when the signal aborts, without an error', async () => {
  const controller = new AbortController();
  const paused = pause(3_600_000, controller.signal);
  controller.abort();
  await expect(paused).resolves.toBeUndefined();
  await expect(pause(3_600_000, controller.signal)).resolves.toBeUndefined();
});
