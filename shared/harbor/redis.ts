import { Redis, type RedisOptions } from 'ioredis';
import { parseHarborRedisUrl, type HarborRedisAddress } from './redis-url.ts';
import type { Logger } from '../process/logger.ts';
import { Outage } from '../process/outage.ts';
import { COMMAND_TIMEOUT_MS, reconnectDelayMs } from '../queue/redis.ts';

type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

/**
 * Opens a connection to the Redis in which Harbor keeps its markers. It reconnects by itself. A command is
 * sent now or fails: nothing is kept back and sent later, when another process may have gone on with the markers.
 * @param url as `parseHarborRedisUrl` reads it; with sentinels the connection follows the master
 */
export function connectHarborRedis(url: string, log: Logger): Redis {
  const options: ConnectionOptions = {
    ...addressOptions(parseHarborRedisUrl(url)),
    connectTimeout: 5_000,
    commandTimeout: COMMAND_TIMEOUT_MS,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: reconnectDelayMs,
    sentinelRetryStrategy: reconnectDelayMs,
  };
  const redis = new Redis(options);
  const outage = new Outage(log, "Harbor's Redis");
  redis.on('error', (error) => outage.begin(error));
  redis.on('ready', () => outage.end());
  return redis;
}

function addressOptions(address: HarborRedisAddress): ConnectionOptions {
  const { hosts, master, username, password, db, tls } = address;
  const secure = tls ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {};
  const common = { db, ...(username && { username }), ...(password && { password }), ...secure };
  if (master === undefined) return { ...hosts[0], ...common };
  return {
    ...common,
    sentinels: [...hosts],
    name: master,
    ...(username && { sentinelUsername: username }),
    ...(password && { sentinelPassword: password }),
  };
}
