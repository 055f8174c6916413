import type { Command } from 'commander';
import { disableCapture, enableCapture, readCaptureState } from '../../shared/postgres/capture.ts';
import { withClient } from '../../shared/postgres/database.ts';
import { commandConfig, dataOption } from '../command-config.ts';

type Client = Parameters<typeof enableCapture>[0];

/**
 * Adds `tally capture enable`, `disable` and `status`, for the triggers on the host's table `task`.
 */
export function addCaptureCommand(program: Command): void {
  const capture = program
    .command('capture')
    .description('manage the triggers on task that record every change');
  const add = (
    name: string,
    description: string,
    work: (client: Client) => Promise<string>,
  ): void => {
    capture
      .command(name)
      .description(description)
      .addOption(dataOption())
      .action(async (options: { data: string }) => {
        const config = commandConfig(['DATABASE_URL'], options.data);
        const line = await withClient(config.DATABASE_URL, 'capture', work);
        process.stdout.write(`${line}\n`);
      });
  };
  add('enable', 'record changes of tasks from now on', async (client) => {
    await enableCapture(client);
    return 'capture is enabled; to find what changed before, run: tally reconcile';
  });
  add('disable', 'stop recording; what is recorded is still refreshed', async (client) => {
    return (await disableCapture(client))
      ? 'capture is disabled; changes of tasks are no longer recorded'
      : 'capture was not enabled; nothing to disable';
  });
  add('status', 'say whether changes are recorded', async (client) => {
    const state = await readCaptureState(client);
    return state === 'incomplete'
      ? 'incomplete: a trigger is missing or disabled; run: tally capture enable'
      : state;
  });
}
