import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { findOnPath, nobody } from '../../cli/embedded/server.ts';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

/**
 * Starts a PgBouncer in transaction mode before a server, with few connections, so that clients share them.
 * Call it at the top of a file; it ends with the file.
 * @returns the URL with the pooler in place of the server
 */
export async function startPgbouncer(postgresUrl: string): Promise<string> {
  const program = findOnPath(['pgbouncer']);
  if (program === undefined)
    throw new Error('pgbouncer is not on PATH; run: node cli/setup.mjs --test --environments');
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
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    'default_pool_size = 4',
    'max_client_conn = 500',
    '',
  ];
  writeFileSync(file, lines.join('\n'), { mode: 0o644 });
  // It refuses to run as root.
  const as = process.getuid?.() === 0 ? await nobody() : {};
  const child = spawn(program, ['-q', file], { ...as, stdio: 'ignore' });
  const ended = once(child, 'exit');
  afterAll(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const url = Object.assign(new URL(postgresUrl), { host: `127.0.0.1:${port}` }).href;
  await until('PgBouncer to answer', async () => {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('SELECT 1');
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => undefined);
    }
  });
  return url;
}
