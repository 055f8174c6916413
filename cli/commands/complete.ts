import { Argument, type Command } from 'commander';
import { bashScript } from '../completion/bash.ts';
import { commandTree, type CommandToComplete } from '../completion/command-tree.ts';
import { fishScript } from '../completion/fish.ts';
import { zshScript } from '../completion/zsh.ts';

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  string,
  (tally: CommandToComplete) => string
>;

/** Adds `tally complete`, whose scripts know every command that the program has when it runs. */
export function addCompleteCommand(program: Command): void {
  program
    .command('complete')
    .description('print a script with which a shell completes commands and options of tally')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(SCRIPTS)))
    .action((shell: keyof typeof SCRIPTS) => {
      process.stdout.write(SCRIPTS[shell](commandTree(program)));
    });
}
