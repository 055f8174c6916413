import { spawnTally } from './tally-process.ts';

/** A command as its help describes it. */
export interface DescribedCommand {
  /** The words that name it, `tally` first. */
  readonly path: readonly string[];
  /** Names and descriptions. */
  readonly commands: ReadonlyMap<string, string>;
  /** Long names and short ones. */
  readonly options: readonly string[];
  /** What each example runs: the words from `tally` on. */
  readonly examples: readonly (readonly string[])[];
}

/** Runs `tally <args>` outside of a test, too. @returns its output */
export async function outputOf(...args: readonly string[]): Promise<string> {
  const child = spawnTally(args, {});
  await child.ended;
  return child.lines.join('\n');
}

/** `tally` and every command below it, as their help describes them. */
export async function everyHelp(path: readonly string[] = ['tally']): Promise<DescribedCommand[]> {
  // Commander's own, which has no help.
  if (path.at(-1) === 'help') {
    return [{ path, commands: new Map(), options: [], examples: [] }];
  }
  const output = (await outputOf(...path.slice(1), '--help')).replaceAll(/\n {8,}/g, ' ');
  const section = (title: string): string =>
    new RegExp(`^${title}:\n((?: {2}.+\n?)*)`, 'm').exec(output)?.[1] ?? '';
  const commands = [...section('Commands').matchAll(/^ {2}([a-z]+).*? {2,}(.+)$/gm)];
  const options = [...section('Options').matchAll(/^ {2}(?:(-\w), )?(--[a-z-]+)/gm)];
  const examples = [...section('Examples').matchAll(/(?<= )tally .*?(?= +#| [<>]|$)/gm)];
  const described = {
    path,
    commands: new Map(commands.map(([, name = '', description = '']) => [name, description])),
    options: options.flatMap(([, ...names]) => names.filter((name) => name !== undefined)),
    examples: examples.map(([line]) => line.split(' ')),
  };
  const below = [...described.commands.keys()].map((name) => everyHelp([...path, name]));
  return [described, ...(await Promise.all(below)).flat()];
}
