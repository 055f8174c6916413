import type { Redis } from 'ioredis';

const TRIES = 5;
/**
 * For work of hundreds of calls: 50 ms are promised, but on a busy machine one of so many is held up for longer in each
 * run. One that handles all 50,000 jobs at once takes several times as long.
 */
export const MANY_CALLS_SLOW_MS = 300;

/**
 * The commands that keep Redis busy for more than `slowMs` whenever `work` runs: they block every other client
 * meanwhile. Redis measures by the clock, so on a busy machine any command may be held up, but one that is slow by
 * itself is slow each time: `work` runs up to five times, until a run has none that was slow in all runs before. It has
 * to do all its work each time.
 *
 * @returns An example of each, told apart by name, and scripts by their text.
 */
export async function slowCommands(
  redis: Redis,
  slowMs: number,
  work: () => Promise<unknown>,
): Promise<string[]> {
  await redis.config('SET', 'slowlog-log-slower-than', String(slowMs * 1_000));
  let slow = await slowOnce(redis, work);
  for (let run = 2; run <= TRIES && slow.size > 0; run++) {
    const again = await slowOnce(redis, work);
    slow = new Map([...again].filter(([name]) => slow.has(name)));
  }
  return [...slow.values()];
}

async function slowOnce(redis: Redis, work: () => Promise<unknown>): Promise<Map<string, string>> {
  await redis.slowlog('RESET');
  await work();
  const entries = (await redis.slowlog('GET', 100)) as [number, number, number, string[]][];
  return new Map(
    entries.map(([, , microseconds, command]) => [
      command.slice(0, /^eval/i.test(command[0] ?? '') ? 2 : 1).join(' '),
      `${microseconds / 1_000} ms: ${command.join(' ').slice(0, 100)}`,
    ]),
  );
}
