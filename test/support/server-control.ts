import type { EmbeddedServer } from '../../cli/embedded/server.ts';
import { startEmbeddedPostgres } from '../../cli/embedded/postgres.ts';
import { startEmbeddedRedis } from '../../cli/embedded/redis.ts';
import { rmSync } from 'node:fs';
import { newFolder } from './servers.ts';

/** A server that a test stops and starts again at the same address. */
export interface ControlledServer {
  readonly url: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes its data. */
  remove(): Promise<void>;
}

type Start = (folder: string, port: number | undefined) => Promise<EmbeddedServer>;

export function controlledPostgres(): Promise<ControlledServer> {
  return control((dataDirectory, preferredPort) =>
    startEmbeddedPostgres({
      dataDirectory,
      projectDirectory: process.cwd(),
      say: () => undefined,
      ...(preferredPort === undefined ? {} : { preferredPort }),
    }),
  );
}

export function controlledRedis(): Promise<ControlledServer> {
  return control((dataDirectory, preferredPort) =>
    startEmbeddedRedis({
      dataDirectory,
      say: () => undefined,
      ...(preferredPort === undefined ? {} : { preferredPort }),
    }),
  );
}

async function control(start: Start): Promise<ControlledServer> {
  const folder = newFolder();
  let server = await start(folder, undefined);
  const { url } = server;
  return {
    url,
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
