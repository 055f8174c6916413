import { withAllBelow, type CommandToComplete, type Values } from './command-tree.ts';

/**
 * A script that completes `tally` in fish, with descriptions. It runs neither `tally` nor a word of
 * the line.
 */
export function fishScript(tally: CommandToComplete): string {
  const commands = withAllBelow(tally);
  const valued = commands.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) =>
      value === undefined ? [] : names.map((name) => [...path, name].join(' ')),
    ),
  );
  const named = commands.slice(1).map(({ path }) => path.join(' '));
  return `# Completes tally in fish. Printed by: tally complete fish

# Prints the command that the words before the cursor name, and how many arguments it has by then.
function __tally_place
    set -l place tally
    set -l count 0
    set -l expects no
    set -l words (commandline -opc)
    set -e words[1]
    for word in $words
        if test $expects = yes
            set expects no
            continue
        end
        switch "$place $word"
            case ${valued.map(quoted).join(' ')}
                set expects yes
            case ${named.map(quoted).join(' ')}
                set place "$place $word"
                set count 0
            case '* -*'
            case '*'
                set count (math $count + 1)
        end
    end
    echo "$place/$count"
end

function __tally_in
    string match -q -- "$argv/*" (__tally_place)
end

function __tally_at
    string match -q -- "$argv" (__tally_place)
end

complete -c tally -f
${commands.flatMap(linesFor).join('\n')}
`;
}

function linesFor({ path, options, arguments: args, commands }: CommandToComplete): string[] {
  const place = path.join(' ');
  const below = commands.map((command) =>
    line(`__tally_at "${place}/0"`, [
      `-a ${quoted(command.path.at(-1) ?? '')}`,
      `-d ${quoted(command.description)}`,
    ]),
  );
  const positional = args.flatMap(({ values, variadic }, at) => {
    const offered = offer(values);
    const where = `__tally_at "${place}/${variadic ? '*' : at}"`;
    return offered === undefined ? [] : [line(where, [offered])];
  });
  const dashed = options.map(({ names, description, value }) =>
    line(`__tally_in "${place}"`, [
      ...names.map((name) =>
        name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
      ),
      ...(value === undefined ? [] : [takes(value.values)]),
      `-d ${quoted(description)}`,
    ]),
  );
  return [...below, ...positional, ...dashed];
}

function line(condition: string, parts: readonly string[]): string {
  return ['complete -c tally', `-n ${quoted(condition)}`, ...parts].join(' ');
}

/** The value of an option, and no path in its place. */
function takes(values: Values): string {
  if (values === 'files') return '-r -F';
  const offered = offer(values);
  return offered === undefined ? '-x' : `-x ${offered}`;
}

function offer(values: Values): string | undefined {
  if (values === 'anything') return undefined;
  if (values === 'files') return '-F';
  if (values === 'folders') return `-a ${quoted('(__fish_complete_directories)')}`;
  return `-a ${quoted(values.map(quoted).join(' '))}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, '\\$&')}'`;
}
