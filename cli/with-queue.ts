import type { ConfigWith } from '../shared/process/config.ts';
import type { QueueAccess } from '../shared/queue/failed-jobs.ts';
import { silentLogger } from '../shared/process/logger.ts';
import { connectRedis } from '../shared/queue/redis.ts';
import { waitForRedis } from '../shared/queue/wait-for-redis.ts';
import { openRefreshQueue } from '../shared/queue/refresh-queue.ts';

const CONNECT_TIMEOUT_MS = 3_000;

/**
 * Connects to Redis for one command, and closes the connection afterwards.
 * @param options as for `openRefreshQueue`
 * @throws TallyError REDIS_AWAY if Redis can't be reached, REDIS_TOO_OLD
 */
export async function withQueue<T>(
  config: ConfigWith<'REDIS_URL'>,
  work: (parts: QueueAccess) => Promise<T>,
  options: Parameters<typeof openRefreshQueue>[2] = {},
): Promise<T> {
  const redis = connectRedis(config, 'failFast', silentLogger());
  try {
    await waitForRedis(redis, CONNECT_TIMEOUT_MS);
    const queue = openRefreshQueue(config, redis, options);
    const result = await work({ queue, redis });
    await queue.close();
    return result;
  } finally {
    redis.disconnect();
  }
}
