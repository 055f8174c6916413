import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../../../cli/embedded/ports.ts';
import { findOnPath } from '../../../../cli/embedded/server.ts';
import { connectHarborRedis } from '../../../../shared/harbor/redis.ts';
import { waitForRedis } from '../../../../shared/queue/redis.ts';
import { newHarborRedis } from '../../../support/markers.ts';
import { newFolder } from '../../../support/servers.ts';
import { silent } from '../../../support/stores.ts';

const { url: harborUrl, redis: direct } = await newHarborRedis();

/** A sentinel that watches the Redis of the tests under the name mymaster, with the same password; ended after the test. */
async function startSentinel(password: string): Promise<number> {
  const port = await freePort(undefined);
  const folder = newFolder();
  const file = join(folder, 'sentinel.conf');
  writeFileSync(
    file,
    `port ${port}
bind 127.0.0.1
requirepass "${password}"
sentinel monitor mymaster 127.0.0.1 ${new URL(harborUrl).port} 1
sentinel auth-pass mymaster "${password}"
`,
  );
  const program = findOnPath(['redis-server', 'valkey-server']) ?? '';
  const sentinel = spawn(program, [file, '--sentinel'], { stdio: 'ignore' });
  onTestFinished(async () => {
    sentinel.kill('SIGKILL');
    await once(sentinel, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  return port;
}

it("a URL with sentinels, as Harbor writes it, leads to the master's database of that number", async () => {
  const password = decodeURIComponent(new URL(harborUrl).password);
  const port = await startSentinel(password);
  const url = `redis+sentinel://:${encodeURIComponent(password)}@127.0.0.1:1,127.0.0.1:${port}/mymaster/7?idle_timeout_seconds=30`;
  const redis = connectHarborRedis(url, silent);
  onTestFinished(() => redis.disconnect());
  await waitForRedis(redis, 10_000, 'HARBOR_REDIS_URL');
  await direct.sadd('execution:status_outdate', '42:REPLICATION');
  expect(await redis.smembers('execution:status_outdate')).toEqual(['42:REPLICATION']);
});

it('a command fails at once while the connection is down', async () => {
  const redis = connectHarborRedis('redis://127.0.0.1:1', silent);
  onTestFinished(() => redis.disconnect());
  const beginMs = performance.now();
  await expect(redis.ping()).rejects.toThrow();
  expect(performance.now() - beginMs).toBeLessThan(1_000);
});
