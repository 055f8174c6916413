import { resolve } from 'node:path';
import {
  loadConfig,
  requireSettings,
  withSettings,
  type Config,
  type ConfigWith,
} from '../shared/process/config.ts';
import { readRunFile } from './start/run-file.ts';

export const DATA_OPTION = '--data <dir>';
export const DEFAULT_DATA = '.tally';

/**
 * The config of one command. Where neither store is named, a `tally start` that runs in the data
 * folder lends its own, so that commands beside it need no settings.
 * @throws UsageError when a required setting is missing
 */
export function commandConfig<Name extends keyof Config>(
  required: readonly Name[],
  data: string,
): ConfigWith<Name> {
  // Read once: a secret may come from a pipe, which gives it only once.
  const config = loadConfig();
  const running =
    config.DATABASE_URL === undefined && config.REDIS_URL === undefined
      ? readRunFile(resolve(data))
      : undefined;
  if (running === undefined) return requireSettings(config, required);
  const { databaseUrl, redisUrl } = running;
  const lent = withSettings(config, { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl });
  return requireSettings(lent, required);
}
