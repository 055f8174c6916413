import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../../../shared/process/config.ts';
import { silentLogger } from '../../../../shared/process/logger.ts';
import { connectRedis, reconnectDelayMs } from '../../../../shared/queue/redis.ts';
import { waitForRedis } from '../../../../shared/queue/wait-for-redis.ts';

it('however long Redis was unavailable, a connection is tried again within a second', () => {
  for (let attempt = 1; attempt < 2_000; attempt++) {
    expect(reconnectDelayMs(attempt)).toBeLessThanOrEqual(1_000);
  }
});

it('a port that closes every connection without a word is told as an error', async () => {
  const server = createServer((socket) => socket.resume().end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const config = loadConfig(['REDIS_URL'], { REDIS_URL: `redis://127.0.0.1:${port}` });
  const redis = connectRedis(config, 'patient', silentLogger());
  onTestFinished(() => redis.disconnect());
  const [error] = (await once(redis, 'error')) as unknown[];
  expect(error).toMatchObject({ message: 'Connection is closed.' });
});

it('a Redis in protected mode is named with the cause and what to do', async () => {
  const answer =
    '-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface.';
  // As Redis does it: before any command, and then it closes the connection.
  const server = createServer((socket) => socket.resume().end(`${answer}\r\n`));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const config = loadConfig(['REDIS_URL'], { REDIS_URL: `redis://127.0.0.1:${port}` });
  const redis = connectRedis(config, 'failFast', silentLogger());
  onTestFinished(() => redis.disconnect());
  // The first attempt may take a busy machine longer than this waits; the next ones follow soon.
  await once(redis, 'error');
  await expect(waitForRedis(redis, 1_000)).rejects.toThrow(
    /can't be used: DENIED Redis is running in protected mode .*; set requirepass on the server and put the password into REDIS_URL$/,
  );
});
