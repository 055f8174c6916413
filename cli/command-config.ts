import { resolve } from 'node:path';
import { Option } from 'commander';
import {
  loadConfig,
  requireSettings,
  withSettings,
  type Config,
  type ConfigWith,
} from '../shared/process/config.ts';
import { TallyError } from '../shared/errors.ts';
import { readRunFile } from './start/run-file.ts';

/** The option `--data` of every command that can work beside a running `tally start`. */
export function dataOption(): Option {
  return new Option(
    '--data <dir>',
    'data folder of a running tally start, whose servers are used if no URL is set',
  ).default('.tally');
}

/**
 * The config of one command. If neither store is configured, it uses those of a `tally start` that
 * runs in the data folder, so that commands beside it need no settings.
 * @throws UsageError if a required setting is missing
 * @throws TallyError STILL_STARTING if that `tally start` hasn't told its servers yet
 */
export function commandConfig<Name extends keyof Config>(
  required: readonly Name[],
  data: string,
): ConfigWith<Name> {
  // Read only once: a secret may come from a pipe, which yields it only once.
  const config = loadConfig();
  const running =
    config.DATABASE_URL === undefined && config.REDIS_URL === undefined
      ? readRunFile(resolve(data))
      : undefined;
  if (running === undefined) return requireSettings(config, required);
  const { databaseUrl, redisUrl } = running;
  if (databaseUrl === '') {
    throw new TallyError(
      'STILL_STARTING',
      `tally start in ${data} is still starting; run this again when it shows the dashboard's address`,
    );
  }
  const lent = withSettings(config, { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl });
  return requireSettings(lent, required);
}
