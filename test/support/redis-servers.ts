import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findOnPath } from '../../cli/embedded/programs.ts';
import type { Authority } from './authority.ts';
import { lastingPort } from './lasting-port.ts';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

/** A Redis that a test configures line by line, on 127.0.0.1. */
export interface RedisServer {
  readonly port: number;
  readonly folder: string;
  /** Ends it with SIGKILL, if it runs; its folder stays. */
  kill(): Promise<void>;
  /** Starts it again, with what it had stored. */
  start(): Promise<void>;
  /** Ends it for good and removes its folder. */
  remove(): Promise<void>;
}

/**
 * Starts a Redis and waits until it takes connections.
 * @param settings lines of its configuration beside port, address and folder, from its folder and its port
 * @param kind `sentinel`: one that watches others
 */
export async function startRedisServer(
  settings: (folder: string, port: number) => readonly string[],
  kind: 'server' | 'sentinel' = 'server',
): Promise<RedisServer> {
  const folder = newFolder();
  const port = await lastingPort();
  const file = join(folder, 'redis.conf');
  const own = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, 'save ""'];
  // A sentinel writes into its file.
  writeFileSync(file, [...own, ...settings(folder, port), ''].join('\n'));
  const program = findOnPath(['redis-server', 'valkey-server']) ?? '';
  const run = (): ChildProcess =>
    spawn(program, [file, ...(kind === 'sentinel' ? ['--sentinel'] : [])], { stdio: 'ignore' });
  let running: ChildProcess | undefined;

  const kill = async (): Promise<void> => {
    const child = running;
    running = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  const start = async (): Promise<void> => {
    running = run();
    await until(`the ${kind} on port ${port}`, async () => {
      const socket = connect(port, '127.0.0.1');
      try {
        await once(socket, 'connect');
        return true;
      } catch {
        return false;
      } finally {
        socket.destroy();
      }
    });
  };
  await start();
  return {
    port,
    folder,
    kill,
    start,
    remove: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Settings of a server or sentinel that takes TLS only, also from others of its kind. */
export function tlsOnly(port: number, files: Authority): readonly string[] {
  return [
    'port 0',
    `tls-port ${port}`,
    `tls-cert-file ${files.certificate}`,
    `tls-key-file ${files.key}`,
    `tls-ca-cert-file ${files.ca}`,
    'tls-auth-clients optional',
    'tls-replication yes',
  ];
}

/**
 * Sends one command over a connection of its own.
 * @param ca the file of the authority, for a server that takes TLS only
 * @throws what the server answered, or why it didn't
 */
export async function askRedis(
  port: number,
  [name = '', ...args]: readonly string[],
  password = '',
  ca?: string,
): Promise<unknown> {
  const client = new Redis({
    port,
    host: '127.0.0.1',
    ...(password && { password }),
    ...(ca !== undefined && { tls: { ca: readFileSync(ca) } }),
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await client.call(name, ...args);
  } finally {
    client.disconnect();
  }
}
