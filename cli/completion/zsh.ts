import {
  withAllBelow,
  type CommandToComplete,
  type OptionToComplete,
  type Values,
} from './command-tree.ts';
import { quoted } from './quoting.ts';

/**
 * A script that completes `tally` in zsh, with descriptions: to be loaded by `fpath` under the name
 * `_tally`, or sourced after `compinit`. It runs neither `tally` nor a word of the line.
 */
export function zshScript(tally: CommandToComplete): string {
  return `#compdef tally
# Completes tally in zsh. Printed by: tally complete zsh

${withAllBelow(tally).map(functionFor).join('\n')}
# The first time, as the function that fpath has found; or sourced.
if [[ $funcstack[1] == _tally ]]; then
  _tally "$@"
else
  compdef _tally tally
fi
`;
}

function functionFor(command: CommandToComplete): string {
  const options = command.options.map(optionSpec);
  if (command.commands.length === 0) {
    const specs = [...options, ...argumentSpecs(command)];
    return `${nameOf(command)}() {
  _arguments -S ${lines(specs)}
}
`;
  }
  const described = command.commands.map(({ path, description }) =>
    quoted(`${path.at(-1) ?? ''}:${description}`),
  );
  const calls = command.commands.map(
    (below) => `        ${path(below)}) ${nameOf(below)} && failed=0 ;;`,
  );
  // The lone dashes: no option of this command is offered once one of its commands is named.
  const specs = [...options, quoted('(-): :->command'), quoted('(-)*:: :->rest')];
  return `${nameOf(command)}() {
  local curcontext=$curcontext state state_descr line failed=1
  local -A opt_args
  _arguments -C ${lines(specs)} && failed=0
  case $state in
    command)
      local -a commands=(${lines(described, 8)}
      )
      _describe -t commands command commands && failed=0
      ;;
    rest)
      curcontext=\${curcontext%:*:*}:tally-$words[1]:
      case $words[1] in
${calls.join('\n')}
      esac
      ;;
  esac
  return failed
}
`;
}

function path(command: CommandToComplete): string {
  return quoted(command.path.at(-1) ?? '');
}

function nameOf({ path }: CommandToComplete): string {
  return `_${path.join('_').replaceAll('-', '_')}`;
}

function optionSpec({ names, description, value }: OptionToComplete): string {
  const text = `[${description.replaceAll(/[\\[\]:]/g, '\\$&')}]`;
  const of = value === undefined ? '' : `:${value.name}:${actionFor(value.values)}`;
  const excluded = names.length > 1 ? `(${names.join(' ')})` : '';
  return names
    .map((name) => {
      const separator = value !== undefined && name.startsWith('--') ? '=' : '';
      return quoted(`${excluded}${name}${separator}${text}${of}`);
    })
    .join(' ');
}

function argumentSpecs({ arguments: args }: CommandToComplete): string[] {
  return args.map(({ name, values, variadic }, at) =>
    quoted(`${variadic ? '*' : at + 1}:${name}:${actionFor(values)}`),
  );
}

function actionFor(values: Values): string {
  if (values === 'folders') return '_files -/';
  if (values === 'files') return '_files';
  // A blank: the name of the value is told, and nothing offered.
  if (values === 'anything') return ' ';
  return `(${values.map((word) => word.replaceAll(/[^\w.-]/g, '\\$&')).join(' ')})`;
}

function lines(words: readonly string[], indent = 4): string {
  const separator = indent === 4 ? ' \\\n' : '\n';
  const start = indent === 4 ? '\\\n' : '\n';
  return start + words.map((word) => ' '.repeat(indent) + word).join(separator);
}
