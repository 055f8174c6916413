import { expect, it, onTestFinished } from 'vitest';
import { connectRedis } from '../../shared/queue/redis.ts';
import { createStores, silent } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const { environment, config, redis } = await createStores();

it('a command that Redis may still be working on is not sent again with the next connection', async () => {
  const url = environment['REDIS_URL'] ?? '';
  const proxy = await openProxy(url);
  onTestFinished(() => proxy.close());
  const client = connectRedis({ ...config, REDIS_URL: proxy.through(url) }, 'failFast', silent);
  onTestFinished(() => client.disconnect());
  await until('the connection', () => client.status === 'ready');
  const key = `${config.QUEUE_PREFIX}:counter`;
  // Redis gets the command; its answer is lost with the connection.
  proxy.watch = (chunk, from) => {
    if (from === 'server' && chunk.toString().startsWith(':1')) proxy.reset();
  };
  await expect(client.incr(key)).rejects.toThrow();
  proxy.watch = undefined;
  await until('a new connection', async () => (await client.ping()) === 'PONG');
  expect(await redis.get(key)).toBe('1');
});
