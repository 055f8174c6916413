import type { Command } from 'commander';
import { createLogger, standardOutput } from '../shared/logger.ts';
import { migrate } from '../shared/schema.ts';
import { commandConfig, DATA_OPTION, DEFAULT_DATA } from './command-config.ts';

export function addMigrateCommand(program: Command): void {
  program
    .command('migrate')
    .description('create or upgrade schema tally (and execution and task, when there is neither)')
    .option(
      DATA_OPTION,
      'the folder of a running tally start, used when no URL is set',
      DEFAULT_DATA,
    )
    .action(async (options: { data: string }) => {
      const config = commandConfig(['DATABASE_URL'], options.data);
      const log = createLogger(config, 'migrate', standardOutput(process.stdout.isTTY));
      const applied = await migrate(config.DATABASE_URL ?? '', log);
      log.info(
        applied.length === 0
          ? 'schema tally is up to date; functions installed again'
          : `migrated: ${applied.join(', ')}`,
      );
    });
}
