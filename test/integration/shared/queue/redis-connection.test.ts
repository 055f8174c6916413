import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { connectHarborRedis } from '../../../../shared/harbor/redis.ts';
import { connectRedis } from '../../../../shared/queue/redis.ts';
import { createLogger } from '../../../../shared/process/logger.ts';
import { createStores, silent } from '../../../support/stores.ts';
import { openProxy } from '../../../support/tcp-proxy.ts';
import { until } from '../../../support/wait.ts';

const { config, redis } = await createStores();
const url = Object.assign(new URL(config.REDIS_URL), { pathname: '/99' }).href;

it.each([
  ['for the queue', () => connectRedis({ ...config, REDIS_URL: url }, 'failFast', silent)],
  ["for Harbor's markers", () => connectHarborRedis(url, silent)],
])(
  "a database number that the server doesn't have never leads to another one, %s",
  async (_what, open) => {
    const client = open();
    onTestFinished(() => client.disconnect());
    for (let times = 0; times < 2; times++) {
      const [error] = (await once(client, 'error')) as unknown[];
      expect(error).toMatchObject({ message: 'ERR DB index is out of range' });
    }
    const key = `${config.QUEUE_PREFIX}:stray`;
    await expect(client.set(key, '1')).rejects.toThrow();
    expect(await redis.exists(key)).toBe(0);
  },
);

it("a connection lost in use isn't reported as a server that closes connections at once", async () => {
  const server = config.REDIS_URL;
  const proxy = await openProxy(server);
  onTestFinished(() => proxy.close());
  const lines: string[] = [];
  const log = createLogger(config, 'test', (line) => lines.push(line));
  const client = connectRedis({ ...config, REDIS_URL: proxy.through(server) }, 'patient', log);
  onTestFinished(() => client.disconnect());
  await client.ping();
  proxy.reset();
  await until('it to be logged', () => lines.some((line) => line.includes('Redis is unavailable')));
  expect(lines[0]).toMatch(/Redis is unavailable: (read|write) E\w+; work waits/);
  await client.ping();
  // From here on nothing but resets: that is advised on.
  proxy.mode = 'refuse';
  proxy.reset();
  await until('the advice', () =>
    lines.some((line) => line.includes('the server closes connections at once')),
  );
});
