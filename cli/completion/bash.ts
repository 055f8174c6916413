import { withAllBelow, type CommandToComplete, type Values } from './command-tree.ts';
import { quoted } from './quoting.ts';

/**
 * A script that completes `tally` in bash, from 3.2 on, the one of macOS. It needs no other package
 * and takes the line as text: no word of it is expanded or run, and neither is `tally`.
 */
export function bashScript(tally: CommandToComplete): string {
  const commands = withAllBelow(tally);
  const valued = commands.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) =>
      value === undefined
        ? []
        : names.map((name) => ({ place: [...path, name].join(' '), values: value.values })),
    ),
  );
  const positional = commands.flatMap(({ path, arguments: args, commands: below }) => [
    ...(below.length === 0
      ? []
      : [{ place: `${path.join(' ')} 0`, values: below.map((child) => child.path.at(-1) ?? '') }]),
    ...args.map(({ values, variadic }, at) => ({
      place: `${path.join(' ')} ${variadic ? '*' : at}`,
      values,
    })),
  ]);
  const options = commands.map(({ path, options }) => ({
    place: path.join(' '),
    values: options.flatMap(({ names }) => names),
  }));
  const named = commands.slice(1).map(({ path }) => path.join(' '));
  return `# Completes tally in bash. Printed by: tally complete bash

_tally() {
  local place=tally count=0 expects='' dashes=yes words=() prefix='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == = ]]; then
      continue # bash takes --option=value for three words
    elif [[ -n $expects ]]; then
      expects=''
    elif [[ $dashes == yes && $word == -- ]]; then
      dashes=no
    elif [[ $dashes == yes && $word == -* ]]; then
      case "$place $word" in
        ${pattern(valued.map(({ place }) => place))}) expects=$word ;;
      esac
    else
      case "$place $word" in
        ${pattern(named)}) place="$place $word" count=0 ;;
        *) count=$((count + 1)) ;;
      esac
    fi
  done
  local current=$2
  if [[ $current == = ]]; then
    current=''
  elif [[ $dashes == yes && -z $expects && $current == --*=* ]]; then
    expects=\${current%%=*} current=\${current#*=}
    prefix=$expects=
  fi
  if [[ -n $expects ]]; then
    case "$place $expects" in
${clauses(valued)}
    esac
  elif [[ $dashes == yes && $current == -* ]]; then
    _tally_options
  else
    case "$place $count" in
${clauses(positional)}
    esac
    # What else could be meant, if there is nothing else to offer?
    if [[ -z $current && \${#words[@]} -eq 0 && \${#COMPREPLY[@]} -eq 0 ]]; then _tally_options; fi
  fi
  for word in "\${words[@]}"; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$prefix$word"); fi
  done
}

_tally_options() {
  case $place in
${clauses(options, 4)}
  esac
}

_tally_paths() {
  # So that names are quoted and folders end with a slash; bash 3.2 can't.
  compopt -o filenames 2> /dev/null
  while IFS= read -r word; do COMPREPLY+=("$prefix$word"); done < <(compgen "$1" -- "$current")
}

complete -F _tally tally
`;
}

interface Case {
  readonly place: string;
  readonly values: Values;
}

/** The clauses of a `case`, one for all places with the same values. */
function clauses(cases: readonly Case[], indent = 6): string {
  const places = new Map<string, string[]>();
  for (const { place, values } of cases) {
    const action = actionFor(values);
    if (action !== undefined) places.set(action, [...(places.get(action) ?? []), place]);
  }
  const begin = ' '.repeat(indent);
  return [...places].map(([action, of]) => `${begin}${pattern(of)}) ${action} ;;`).join('\n');
}

function actionFor(values: Values): string | undefined {
  if (values === 'anything') return undefined;
  if (values === 'folders') return '_tally_paths -d';
  if (values === 'files') return '_tally_paths -f';
  return values.length === 0 ? undefined : `words=(${values.map(quoted).join(' ')})`;
}

function pattern(places: readonly string[]): string {
  // A star at the end stands for any number of arguments.
  return places.map((place) => quoted(place).replace(/ \*'$/, " '*")).join(' | ');
}
