import { Command } from 'commander';
import { expect, it } from 'vitest';
import { addRetryCommand } from '../../../../cli/commands/retry.ts';

it.each([
  [[], 'select what to retry'],
  [['--dry-run'], 'select what to retry'],
  [['--all', '--vendor', 'SCAN'], '--all is every failed job'],
  [['--execution', '0'], 'whole number from 1'],
  [['--execution', '4x'], 'whole number from 1'],
  [['--vendor', 'x'.repeat(256)], 'text of 1 to 255 characters'],
  [['--error', ''], '--error is empty'],
])(
  'tally retry %j is refused before anything is connected, with what is wrong',
  async (args, text) => {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
    addRetryCommand(program);
    program.commands.forEach((command) =>
      command.exitOverride().configureOutput({ writeErr: () => undefined }),
    );
    await expect(program.parseAsync(['retry', ...args], { from: 'user' })).rejects.toThrow(text);
  },
);
