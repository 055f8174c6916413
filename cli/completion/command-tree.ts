import type { Argument, Command, Option } from 'commander';

/** What can be offered for a value: these words, paths, or nothing. */
export type Values = readonly string[] | 'files' | 'folders' | 'anything';

export interface OptionToComplete {
  /** The short one, if there is one, and the long one. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined if the option takes no value. */
  readonly value: ValueToComplete | undefined;
}

interface ValueToComplete {
  /** As the help names it, for example `dir`. */
  readonly name: string;
  readonly values: Values;
}

export interface CommandToComplete {
  /** The words that name it: `tally`, `harbor`, `export`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly OptionToComplete[];
  readonly arguments: readonly (ValueToComplete & { readonly variadic: boolean })[];
  readonly commands: readonly CommandToComplete[];
}

/** What can be typed after a command: exactly what its help lists, help included. */
export function commandTree(command: Command, above: readonly string[] = []): CommandToComplete {
  const help = command.createHelp();
  const path = [...above, command.name()];
  const commands = help.visibleCommands(command);
  return {
    path,
    description: command.description(),
    options: help.visibleOptions(command).map(optionToComplete),
    arguments: command.registeredArguments.map(argumentToComplete),
    commands: commands.map((child) =>
      command.commands.includes(child)
        ? commandTree(child, path)
        : helpCommand(child, path, command.commands),
    ),
  };
}

/** The command and all below it. */
export function withAllBelow(command: CommandToComplete): readonly CommandToComplete[] {
  return [command, ...command.commands.flatMap(withAllBelow)];
}

/** Commander's own `help`, which doesn't say that its argument is one of the commands. */
function helpCommand(
  help: Command,
  above: readonly string[],
  commands: readonly Command[],
): CommandToComplete {
  const names = commands.map((command) => command.name());
  return {
    path: [...above, help.name()],
    description: help.description(),
    options: [],
    arguments: [{ name: 'command', values: names, variadic: false }],
    commands: [],
  };
}

function optionToComplete(option: Option): OptionToComplete {
  const name = /<(.+)>/.exec(option.flags)?.[1];
  return {
    names: [option.short, option.long].filter((flag) => flag !== undefined),
    description: option.description,
    value: name === undefined ? undefined : { name, values: valuesOf(name, option.argChoices) },
  };
}

function argumentToComplete(argument: Argument): CommandToComplete['arguments'][number] {
  const name = argument.name();
  return { name, values: valuesOf(name, argument.argChoices), variadic: argument.variadic };
}

/** The name of a value in the help says whether it is a path. */
function valuesOf(name: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return choices;
  return name === 'dir' ? 'folders' : name === 'file' ? 'files' : 'anything';
}
