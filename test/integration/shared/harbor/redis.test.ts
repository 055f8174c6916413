import { expect, it, onTestFinished } from 'vitest';
import { connectHarborRedis } from '../../../../shared/harbor/redis.ts';
import { waitForRedis } from '../../../../shared/queue/wait-for-redis.ts';
import { newHarborRedis } from '../../../support/markers.ts';
import { startRedisServer } from '../../../support/redis-servers.ts';
import { silent } from '../../../support/stores.ts';
import { openProxy } from '../../../support/tcp-proxy.ts';

const { url: harborUrl, redis: direct } = await newHarborRedis();

it("a sentinel URL leads to the master's database number, and only the master gets the password", async () => {
  const password = decodeURIComponent(new URL(harborUrl).password);
  const sentinel = await startRedisServer(
    () => [
      `sentinel monitor mymaster 127.0.0.1 ${new URL(harborUrl).port} 1`,
      `sentinel auth-pass mymaster "${password}"`,
    ],
    'sentinel',
  );
  const proxy = await openProxy(`redis://127.0.0.1:${sentinel.port}`);
  onTestFinished(async () => {
    await proxy.close();
    await sentinel.remove();
  });
  let sent = '';
  proxy.watch = (chunk, from) => {
    if (from === 'client') sent += chunk.toString('latin1');
  };
  const { host } = new URL(proxy.through('redis://127.0.0.1'));
  const url = `redis+sentinel://:${encodeURIComponent(password)}@127.0.0.1:1,${host}/mymaster/7?idle_timeout_seconds=30`;
  const redis = connectHarborRedis(url, silent);
  onTestFinished(() => redis.disconnect());
  await waitForRedis(redis, 10_000, 'HARBOR_REDIS_URL');
  await direct.sadd('execution:status_outdate', '42:REPLICATION');
  expect(await redis.smembers('execution:status_outdate')).toEqual(['42:REPLICATION']);
  expect(sent).toContain('get-master-addr-by-name');
  expect(sent).not.toContain(password);
});

it('a command fails at once while the connection is down', async () => {
  const redis = connectHarborRedis('redis://127.0.0.1:1', silent);
  onTestFinished(() => redis.disconnect());
  await expect(redis.ping()).rejects.toThrow();
});
