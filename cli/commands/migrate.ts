import type { Command } from 'commander';
import type { ConfigWith } from '../../shared/process/config.ts';
import { UsageError } from '../../shared/errors.ts';
import { createLogger, streamWriter } from '../../shared/process/logger.ts';
import { migrate } from '../../shared/postgres/migrate.ts';
import { describeLost, uninstall } from '../../shared/postgres/uninstall.ts';
import { BACKLOG_QUEUE, REFRESH_QUEUE } from '../../shared/queue/queue-names.ts';
import { commandConfig, dataOption } from '../command-config.ts';

interface Options {
  readonly uninstall?: true;
  readonly force?: true;
  readonly data: string;
}

/** Adds `tally migrate`, and its opposite `--uninstall`. */
export function addMigrateCommand(program: Command): void {
  program
    .command('migrate')
    .description('create or upgrade schema tally (and execution and task, if neither exists)')
    .option('--uninstall', 'remove schema tally and the triggers instead; execution and task stay')
    .option('--force', 'with --uninstall: even if refreshes wait in the outbox; they are lost')
    .addOption(dataOption())
    .action(async (options: Options) => {
      if (options.force && !options.uninstall) {
        throw new UsageError('--force goes with --uninstall only');
      }
      const config = commandConfig(['DATABASE_URL'], options.data);
      if (options.uninstall) await remove(config, options.force === true);
      else await install(config);
    });
}

async function install(config: ConfigWith<'DATABASE_URL'>): Promise<void> {
  const log = createLogger(config, 'migrate', await streamWriter(process.stdout));
  const applied = await migrate(config.DATABASE_URL, log);
  log.info(
    applied.length === 0
      ? 'schema tally is up to date; functions installed again'
      : `migrated: ${applied.join(', ')}`,
  );
}

async function remove(config: ConfigWith<'DATABASE_URL'>, force: boolean): Promise<void> {
  const { found, capture, lostRefreshes } = await uninstall(config.DATABASE_URL, force, () => {
    process.stderr.write(
      'tally: another tally migrate is running on this database; waiting for it\n',
    );
  });
  const lines = found
    ? [
        `schema tally is removed${capture === 'disabled' ? '' : ', and the triggers on task'}; execution and task are as they were`,
        ...(lostRefreshes > 0
          ? [`${describeLost(lostRefreshes)} refreshes were not done and are lost`]
          : []),
        'to remove what is left in Redis, run:',
        ...[REFRESH_QUEUE, BACKLOG_QUEUE].map(
          (queue) =>
            `redis-cli -u "$REDIS_URL" --scan --pattern '${config.QUEUE_PREFIX}:${queue}*' | xargs redis-cli -u "$REDIS_URL" UNLINK`,
        ),
      ]
    : ['there is no schema tally; nothing to remove'];
  process.stdout.write(`${lines.join('\n')}\n`);
}
