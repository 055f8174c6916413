import { rmSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import { startEmbeddedRedis } from '../../cli/embedded/redis.ts';
import type { EmbeddedServer } from '../../cli/embedded/server.ts';
import { newFolder } from './new-folder.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URLs of the servers that all files share; each file makes a database and a prefix of its own. */
    postgresUrl: string;
    redisUrl: string;
  }
}

/** A Postgres that belongs to the caller, in a new folder; `stop` also removes its data. */
export async function newPostgres(): Promise<EmbeddedServer> {
  return await inNewFolder((dataDirectory) =>
    startEmbeddedPostgres({
      dataDirectory,
      projectDirectory: process.cwd(),
      say: () => undefined,
    }),
  );
}

/** A Redis that belongs to the caller, in a new folder; `stop` also removes its data. */
export async function newRedis(): Promise<EmbeddedServer> {
  return await inNewFolder((dataDirectory) =>
    startEmbeddedRedis({ dataDirectory, say: () => undefined }),
  );
}

/** Runs once before all files. */
export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const redis = await newRedis();
  try {
    const postgres = await newPostgres();
    project.provide('postgresUrl', postgres.url);
    project.provide('redisUrl', redis.url);
    return async () => {
      await Promise.all([postgres.stop(), redis.stop()]);
    };
  } catch (error) {
    // Vitest ends without the teardown then.
    await redis.stop();
    throw error;
  }
}

/** Removes the folder when the server stops, and when it didn't start. */
async function inNewFolder(
  start: (folder: string) => Promise<EmbeddedServer>,
): Promise<EmbeddedServer> {
  const folder = newFolder();
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    const server = await start(folder);
    return { url: server.url, stop: () => server.stop().then(remove) };
  } catch (error) {
    remove();
    throw error;
  }
}
