import type { Redis } from 'ioredis';

/**
 * Runs `work` and gives the commands that kept Redis busy for longer, as it counts them itself. They
 * block every other client meanwhile.
 * @param milliseconds that a command may take
 */
export async function slowCommands(
  redis: Redis,
  milliseconds: number,
  work: () => Promise<unknown>,
): Promise<string[]> {
  await redis.config('SET', 'slowlog-log-slower-than', String(milliseconds * 1_000));
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
