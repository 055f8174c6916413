import type { Redis } from 'ioredis';
import type { Logger } from '../process/logger.ts';
import { Outage } from '../process/outage.ts';
import { ioredis } from '../queue/packages.ts';
import { explainRedisError } from '../queue/redis-errors.ts';
import { addressOptions, type ConnectionOptions } from '../queue/redis-options.ts';
import { parseRedisUrl } from '../process/redis-url.ts';
import {
  COMMAND_TIMEOUT_MS,
  insistOnDatabase,
  reconnectDelayMs,
  reportClosedAtOnce,
  reportDenied,
  settingsOf,
} from '../queue/redis.ts';

/**
 * Opens a connection to the Redis in which Harbor keeps its markers. It reconnects by itself. A
 * command is sent at once or fails: one that was queued and sent later could destroy the work of
 * another process that has taken over the markers.
 * @param url as `parseRedisUrl` reads it; with sentinels, the connection follows the master
 * @throws UsageError if the URL names a file that can't be read
 */
export function connectHarborRedis(url: string, log: Logger): Redis {
  const options: ConnectionOptions = {
    ...addressOptions(parseRedisUrl(url), 'HARBOR_REDIS_URL'),
    connectTimeout: 5_000,
    commandTimeout: COMMAND_TIMEOUT_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: reconnectDelayMs,
    sentinelRetryStrategy: reconnectDelayMs,
  };
  const redis = new ioredis.Redis(options);
  reportDenied(redis);
  reportClosedAtOnce(redis);
  insistOnDatabase(redis);
  const outage = new Outage(log, "Harbor's Redis");
  redis.on('error', (error) =>
    outage.begin(explainRedisError(error, settingsOf(redis, undefined, 'HARBOR_REDIS_URL'))),
  );
  redis.on('ready', () => outage.end());
  return redis;
}
