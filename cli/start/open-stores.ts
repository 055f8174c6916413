import { join, resolve } from 'node:path';
import { withSettings, type Config, type StoresConfig } from '../../shared/process/config.ts';
import type { Lifecycle } from '../../shared/process/lifecycle.ts';
import { startEmbeddedPostgres } from '../embedded/postgres.ts';
import { startEmbeddedRedis } from '../embedded/redis.ts';
import { ignoreByGit } from './data-folder.ts';
import { takeRunFile } from './run-file.ts';
import { UsablePort } from './usable-port.ts';

/** What the processes of `tally start` work with. */
export interface Stores {
  /** With the URLs of embedded servers. */
  readonly config: StoresConfig;
  readonly dashboard: UsablePort;
  readonly producer: UsablePort;
}

/**
 * Claims the data folder, starts a server for each store without a URL, and chooses the ports of
 * producer and dashboard. A URL that is set is never replaced. The caller frees the data folder when
 * all of that is closed.
 * @param folder the data folder, as it was given
 * @param given the settings
 * @param say prints a line for people
 * @throws TallyError as `takeRunFile`, `startEmbeddedPostgres`, `startEmbeddedRedis` and
 *   `UsablePort.choose`; the reason of the stop if it begins meanwhile
 */
export async function openStores(
  folder: string,
  given: Config,
  lifecycle: Lifecycle,
  say: (line: string) => void,
): Promise<Stores> {
  const data = resolve(folder);
  takeRunFile(data);
  ignoreByGit(data);
  let { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl } = given;
  if (databaseUrl === undefined) {
    say(`Starting an embedded Postgres in ${join(folder, 'postgres')}.`);
    const postgres = await startEmbeddedPostgres({
      dataDirectory: join(data, 'postgres'),
      projectDirectory: process.cwd(),
      say,
    });
    lifecycle.onStop('the embedded Postgres', () => postgres.stop());
    databaseUrl = postgres.url;
  }
  lifecycle.signal.throwIfAborted();
  if (redisUrl === undefined) {
    say(`Starting an embedded Redis in ${join(folder, 'redis')}.`);
    const redis = await startEmbeddedRedis({ dataDirectory: join(data, 'redis'), say });
    lifecycle.onStop('the embedded Redis', () => redis.stop());
    redisUrl = redis.url;
  }
  lifecycle.signal.throwIfAborted();
  const host = given.HTTP_HOST;
  const dashboard = await UsablePort.choose('DASHBOARD_PORT', given.DASHBOARD_PORT, host, say);
  const producer = await UsablePort.choose('PRODUCER_PORT', given.PRODUCER_PORT, host, say);
  const config = withSettings(given, { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl });
  return { config, dashboard, producer };
}
