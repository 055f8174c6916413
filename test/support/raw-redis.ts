import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, rmSync } from 'node:fs';
import { Redis } from 'ioredis';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

/** A Redis with settings that `tally start` would never give it. */
export interface RawRedis {
  readonly port: number;
  /** A connection that has its place and its rights whatever the settings become; without a password in the settings only. */
  readonly admin: Redis;
  stop(): Promise<void>;
}

/**
 * Starts a redis-server and waits until it takes connections.
 * @param settings lines of its configuration
 * @param folder where its data lies; removed at the end
 */
export async function startRawRedis(
  port: number,
  settings: readonly string[] = [],
  folder = newFolder(),
): Promise<RawRedis> {
  const lines = ['bind 127.0.0.1', `port ${port}`, 'save ""', `dir ${folder}`, ...settings];
  const server = spawn('redis-server', ['-'], { stdio: ['pipe', 'ignore', 'ignore'] });
  server.stdin.end(`${lines.join('\n')}\n`);
  const ended = once(server, 'exit');
  const admin = new Redis({ host: '127.0.0.1', port, enableReadyCheck: false, protocol: 2 });
  admin.on('error', () => undefined);
  await until('Redis to take connections', () => admin.status === 'ready');
  return {
    port,
    admin,
    stop: async () => {
      admin.disconnect();
      server.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Makes a folder with data that a Redis takes ten minutes to load, until `key-load-delay` becomes 0. */
export async function slowData(port: number): Promise<{ folder: string; settings: string[] }> {
  const folder = newFolder();
  const filler = await startRawRedis(port, [], folder);
  const pipeline = filler.admin.pipeline();
  for (let n = 0; n < 6_000; n++) pipeline.set(`other:${n}`, 'x'.repeat(1_100));
  await pipeline.exec();
  await filler.admin.config('SET', 'rdbcompression', 'no');
  await filler.admin.save();
  const data = newFolder();
  cpSync(`${folder}/dump.rdb`, `${data}/dump.rdb`);
  await filler.stop();
  return {
    folder: data,
    settings: ['key-load-delay 100000', 'loading-process-events-interval-bytes 1024'],
  };
}
