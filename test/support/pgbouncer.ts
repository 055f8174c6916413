import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { findOnPath } from '../../cli/embedded/programs.ts';
import { nobody } from '../../cli/embedded/system-user.ts';
import { withClient } from '../../shared/postgres/database.ts';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

export interface Pgbouncer {
  readonly url: string;
  readonly folder: string;
  /** Kills it and starts it again at the same port. */
  restart(): Promise<void>;
}

/**
 * Starts a PgBouncer in transaction mode before a server, with few connections, so that clients share them.
 * Call it at the top of a file; it ends with the file.
 * @param settings more lines of its configuration, given the folder in which it may write
 * @param query of the URL by which it is reached
 * @returns the URL with the pooler in place of the server, and how to restart it
 */
export async function startPgbouncer(
  postgresUrl: string,
  settings: (folder: string) => readonly string[] = () => ['unix_socket_dir ='],
  query = '',
): Promise<Pgbouncer> {
  const program = findOnPath(['pgbouncer']);
  if (program === undefined)
    throw new Error('pgbouncer is not on PATH; run: node deploy/setup.mjs --test --environments');
  const server = new URL(postgresUrl);
  const port = await freePort(undefined);
  const folder = newFolder();
  const file = join(folder, 'pgbouncer.ini');
  const lines = [
    '[databases]',
    `* = host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'auth_type = any',
    'pool_mode = transaction',
    'default_pool_size = 4',
    'max_client_conn = 500',
    ...settings(folder),
    '',
  ];
  writeFileSync(file, lines.join('\n'), { mode: 0o644 });
  // It refuses to run as root.
  const as = process.getuid?.() === 0 ? await nobody() : undefined;
  if (as !== undefined) chownSync(folder, as.uid, as.gid);
  const url = Object.assign(new URL(postgresUrl), { host: `127.0.0.1:${port}` }).href + query;
  const run = async (): Promise<() => Promise<unknown>> => {
    const child = spawn(program, ['-q', file], { ...as, stdio: 'ignore' });
    const ended = once(child, 'exit');
    await untilItAnswers(url);
    return () => {
      child.kill('SIGKILL');
      return ended;
    };
  };
  let stop = await run();
  afterAll(async () => {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    url,
    folder,
    restart: async () => {
      await stop();
      stop = await run();
    },
  };
}

// Without a transaction, with which Tally begins: a pooler of statements refuses that.
async function untilItAnswers(url: string): Promise<void> {
  await until('PgBouncer to answer', () =>
    withClient(url, 'test', (client) => client.query('SELECT 1')).catch(() => undefined),
  );
}
