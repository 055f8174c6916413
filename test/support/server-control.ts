import type { EmbeddedServer } from '../../cli/embedded/server.ts';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import { startEmbeddedRedis } from '../../cli/embedded/redis.ts';
import { execFileSync } from 'node:child_process';
import { appendFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastingPort } from './lasting-port.ts';
import { newFolder } from './new-folder.ts';

/** A server that a test stops and starts again at the same address. */
export interface ControlledServer {
  readonly url: string;
  /** Where its data lies. */
  readonly folder: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes its data. */
  remove(): Promise<void>;
}

type Start = (folder: string, port: number) => Promise<EmbeddedServer>;

const startPostgres: Start = (dataDirectory, preferredPort) =>
  startEmbeddedPostgres({
    dataDirectory,
    projectDirectory: process.cwd(),
    say: () => undefined,
    preferredPort,
  });

export function controlledPostgres(): Promise<ControlledServer> {
  return control(startPostgres);
}

/** Starts a streaming standby of a server, with the same databases, roles and passwords; restarts the server for it. */
export async function standbyOf(primary: ControlledServer): Promise<ControlledServer> {
  const folder = newFolder();
  await primary.stop();
  // With the owners of the files, who run the server.
  execFileSync('cp', ['-a', `${primary.folder}/.`, folder]);
  await primary.start();
  follow(folder, primary);
  return control(startPostgres, folder);
}

/** Makes the server with this folder, which isn't running, a standby of another one from its next start on. */
export function follow(folder: string, primary: ControlledServer): void {
  const { hostname, port, username, password } = new URL(primary.url);
  const conninfo = `host=${hostname} port=${port} user=${username} password=${password}`;
  const settings = `\nprimary_conninfo = '${conninfo}'\n`;
  appendFileSync(join(folder, 'cluster', 'postgresql.auto.conf'), settings);
  writeFileSync(join(folder, 'cluster', 'standby.signal'), '', { mode: 0o644 });
}

export function controlledRedis(): Promise<ControlledServer> {
  return control((dataDirectory, preferredPort) =>
    startEmbeddedRedis({ dataDirectory, say: () => undefined, preferredPort }),
  );
}

async function control(start: Start, folder = newFolder()): Promise<ControlledServer> {
  let server = await start(folder, await lastingPort());
  const { url } = server;
  return {
    url,
    folder,
    stop: () => server.stop(),
    start: async () => {
      server = await start(folder, Number(new URL(url).port));
      if (server.url !== url) throw new Error('the server came back at another address');
    },
    remove: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
