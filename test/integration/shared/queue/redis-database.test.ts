import { once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { connectHarborRedis } from '../../../../shared/harbor/redis.ts';
import { connectRedis } from '../../../../shared/queue/redis.ts';
import { createStores, silent } from '../../../support/stores.ts';

const { config, redis } = await createStores();
const url = Object.assign(new URL(config.REDIS_URL ?? ''), { pathname: '/99' }).href;

it.each([
  ['for the queue', () => connectRedis({ ...config, REDIS_URL: url }, 'failFast', silent)],
  ["for Harbor's markers", () => connectHarborRedis(url, silent)],
])(
  'a database number that the server does not have leads to no other one, %s',
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
