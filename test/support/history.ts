import { bucketKey, type Resolution } from '../../shared/queue/activity.ts';
import type { Stores } from './stores.ts';

/** What all workers did in one interval, as it is kept in Redis. */
type Fields = Readonly<Record<string, number>>;

/**
 * Writes a history, as workers would have, and goes on for five minutes, so that a slow test sees
 * no end of it.
 * @param fields of the interval so many intervals ago; 0 is the current one
 */
export async function writeHistory(
  { redis, config }: Pick<Stores, 'redis' | 'config'>,
  resolution: Resolution,
  count: number,
  fields: (ago: number) => Fields,
): Promise<void> {
  const [now = 0] = (await redis.time()).map(Number);
  const current = Math.floor(now / resolution.seconds);
  const pipeline = redis.pipeline();
  for (let ago = -Math.ceil(300 / resolution.seconds); ago < count; ago++) {
    pipeline.hset(bucketKey(config, resolution, current - ago), fields(ago));
  }
  await pipeline.exec();
}
