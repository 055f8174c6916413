import { expect, it, onTestFinished } from 'vitest';
import { connectRedis, type RedisProfile } from '../../shared/queue/redis.ts';
import { createStores, silent } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const { environment, config, redis } = await createStores();

/** Sends INCR of a fresh key; Redis gets it, and its first answer is lost with the connection. */
async function incrementWithoutAnswer(profile: RedisProfile) {
  const url = environment.REDIS_URL;
  const proxy = await openProxy(url);
  onTestFinished(() => proxy.close());
  const client = connectRedis({ ...config, REDIS_URL: proxy.through(url) }, profile, silent);
  onTestFinished(() => client.disconnect());
  await until('the connection', () => client.status === 'ready');
  const key = `${config.QUEUE_PREFIX}:counter:${profile}`;
  proxy.watch = (chunk, from) => {
    if (from !== 'server' || !chunk.toString().startsWith(':1')) return;
    proxy.watch = undefined;
    proxy.reset();
  };
  return { client, key, answer: client.incr(key) };
}

it("a command that Redis may still be executing isn't sent again on the next connection", async () => {
  const { client, key, answer } = await incrementWithoutAnswer('failFast');
  await expect(answer).rejects.toThrow();
  await until('a new connection', async () => (await client.ping()) === 'PONG');
  expect(await redis.get(key)).toBe('1');
});

it("a worker's command whose answer was lost is sent again once, so no completion is lost", async () => {
  const { key, answer } = await incrementWithoutAnswer('patient');
  expect(await answer).toBe(2);
  expect(await redis.get(key)).toBe('2');
});
