import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findPackaged, type Binaries } from '../../cli/embedded/postgres-binaries.ts';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import type { EmbeddedServer } from '../../cli/embedded/server.ts';
import { newFolder } from './new-folder.ts';

const PACKAGES = fileURLToPath(new URL('../environments/servers/node_modules', import.meta.url));

/**
 * Where the programs of a Postgres of another major version are.
 * @throws Error if they aren't installed, with the command that installs them
 */
export async function binariesOf(major: number): Promise<Binaries> {
  const module = pathToFileURL(join(PACKAGES, `postgres-${major}`, 'dist', 'index.js')).href;
  const binaries = await findPackaged(module);
  if (binaries === undefined) {
    throw new Error(
      `there is no Postgres ${major}; run: node deploy/setup.mjs --test --environments`,
    );
  }
  return binaries;
}

/** Starts a Postgres of another major version, in a new folder; `stop` also removes its data. */
export async function newPostgresOf(major: number): Promise<EmbeddedServer> {
  const binaries = await binariesOf(major);
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
