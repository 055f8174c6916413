import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { findOnPath } from '../../cli/embedded/programs.ts';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

/**
 * Starts an nginx that serves with these lines inside its `server` block. Call it at the top of a file; it ends with
 * the file.
 * @returns the port at which it listens
 */
export async function startNginx(lines: readonly string[]): Promise<number> {
  const program = findOnPath(['nginx']);
  if (program === undefined)
    throw new Error('nginx is not on PATH; run: node deploy/setup.mjs --test --environments');
  const port = await freePort(undefined);
  const folder = newFolder();
  const file = join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${join(folder, kind)};`,
  );
  const text = `daemon off; master_process off; pid ${join(folder, 'pid')}; error_log stderr;
    events {}
    http { access_log off; ${temporary.join(' ')}
      server { listen 127.0.0.1:${port}; ${lines.join('\n')} } }
  `;
  writeFileSync(file, text);
  const child = spawn(program, ['-p', folder, '-c', file, '-e', 'stderr'], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  afterAll(async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  await until('nginx to answer', () =>
    fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    ),
  );
  return port;
}
