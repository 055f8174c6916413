import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import { startEmbeddedRedis } from '../../cli/embedded/redis.ts';
import type { EmbeddedServer } from '../../cli/embedded/server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URLs of the servers that all files share; each file makes a database and a prefix of its own. */
    postgresUrl: string;
    redisUrl: string;
  }
}

/** A Postgres that belongs to the caller, in a new folder; `stop` also removes its data. */
export async function newPostgres(): Promise<EmbeddedServer> {
  const folder = newFolder();
  const server = await startEmbeddedPostgres({
    dataDirectory: folder,
    projectDirectory: process.cwd(),
    say: () => undefined,
  });
  return { url: server.url, stop: () => stopAndRemove(server, folder) };
}

/** A Redis that belongs to the caller, in a new folder; `stop` also removes its data. */
export async function newRedis(): Promise<EmbeddedServer> {
  const folder = newFolder();
  const server = await startEmbeddedRedis({ dataDirectory: folder, say: () => undefined });
  return { url: server.url, stop: () => stopAndRemove(server, folder) };
}

/** Runs once before all files. */
export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const servers = await Promise.all([newPostgres(), newRedis()]);
  project.provide('postgresUrl', servers[0].url);
  project.provide('redisUrl', servers[1].url);
  return async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
}

/** A folder that the user of the Postgres processes can reach, too. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tally-test-'));
  chmodSync(folder, 0o755);
  return folder;
}

async function stopAndRemove(server: EmbeddedServer, folder: string): Promise<void> {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
