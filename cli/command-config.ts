import { resolve } from 'node:path';
import { loadConfig, withSettings, type Config } from '../shared/process/config.ts';
import { readRunFile } from './start/run-file.ts';

export const DATA_OPTION = '--data <dir>';
export const DEFAULT_DATA = '.tally';

type Required = Parameters<typeof loadConfig>[0];

/**
 * The config of one command. Where neither store is named, a `tally start` that runs in the data
 * folder lends its own, so that commands beside it need no settings.
 * @throws UsageError when a required setting is missing
 */
export function commandConfig(required: NonNullable<Required>, data: string): Config {
  const config = loadConfig();
  if (config.DATABASE_URL === undefined && config.REDIS_URL === undefined) {
    const running = readRunFile(resolve(data));
    if (running !== undefined) {
      return withSettings(config, {
        DATABASE_URL: running.databaseUrl,
        REDIS_URL: running.redisUrl,
      });
    }
  }
  return loadConfig(required);
}
