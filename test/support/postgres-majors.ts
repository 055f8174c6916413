import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findPackaged } from '../../cli/embedded/postgres-binaries.ts';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import type { EmbeddedServer } from '../../cli/embedded/server.ts';
import { newFolder } from './servers.ts';

const PACKAGES = fileURLToPath(new URL('../environments/servers/node_modules', import.meta.url));

/** Starts a Postgres of another major version, in a new folder; `stop` also removes its data. */
export async function newPostgresOf(major: number): Promise<EmbeddedServer> {
  const module = pathToFileURL(join(PACKAGES, `postgres-${major}`, 'dist', 'index.js')).href;
  const binaries = await findPackaged(module);
  if (binaries === undefined) {
    throw new Error(`there is no Postgres ${major}; run: node cli/setup.mjs --test --environments`);
  }
  const folder = newFolder();
  const server = await startEmbeddedPostgres({
    dataDirectory: folder,
    projectDirectory: process.cwd(),
    say: () => undefined,
    binaries,
  });
  return {
    url: server.url,
    stop: async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
