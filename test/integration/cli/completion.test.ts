import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { everyHelp, outputOf } from '../../support/help.ts';
import { newFolder } from '../../support/new-folder.ts';

const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, 'my data'));
mkdirSync(join(folder, 'mine'));
writeFileSync(join(folder, 'my file'), '');

const script = await outputOf('complete', 'bash');
const commands = await everyHelp();

/**
 * What bash offers for the last word of each line. The words are as bash takes a line apart: what
 * the line says, and `=` is a word of its own. There is no program that could be run.
 */
function offered(...lines: readonly (readonly string[])[]): string[][] {
  const calls = lines.map((words) => {
    const [last = ''] = words.slice(-1);
    return `COMP_WORDS=(tally ${words.map(quoted).join(' ')}) COMP_CWORD=${words.length}
      _tally tally ${quoted(last)} ${quoted(words.at(-2) ?? 'tally')}
      printf '%s\\n' "\${COMPREPLY[@]}" ''`;
  });
  // bash reads its start-up file where its input is a socket, as here, unless told not to.
  const output = execFileSync(
    'bash',
    ['--norc', '-c', `PATH=''\n${script}\n${calls.join('\necho end of line\n')}`],
    {
      cwd: folder,
      encoding: 'utf8',
    },
  );
  return output
    .split('end of line\n')
    .map((part) => part.split('\n').filter((word) => word !== ''))
    .map((words) => words.toSorted());
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

it('the examples in the help of a command run it, with options that it has', () => {
  const byPath = new Map(commands.map((command) => [command.path.join(' '), command]));
  for (const { path, examples } of commands) {
    const wanted = path.length === 2 && path[1] !== 'help';
    expect(examples.length > 0 || !wanted, path.join(' ')).toBe(true);
    for (const words of examples) {
      const line = words.join(' ');
      const command = [3, 2]
        .map((count) => byPath.get(words.slice(0, count).join(' ')))
        .find((found) => found !== undefined);
      expect(command?.path.slice(0, 2), line).toEqual([path[0], path[1] ?? words[1]]);
      const options = words.filter((word) => /^--?[a-z]/.test(word));
      expect(command?.options, line).toEqual(expect.arrayContaining(options));
    }
  }
});

it.each(commands.map((command) => [command.path.join(' '), command] as const))(
  'bash completes after `%s` exactly the commands and options that its help lists',
  (_name, { path, commands: below, options }) => {
    const [words, dashed] = offered([...path.slice(1), ''], [...path.slice(1), '-']);
    expect(dashed).toEqual(options.toSorted());
    if (below.size > 0) expect(words).toEqual([...below.keys()].toSorted());
  },
);

it('bash completes what an option or an argument may be, and nothing where anything may be', () => {
  const isLeft = ['--data', '--force', '--format', '--help', '-h'];
  expect(
    offered(
      ['harbor', 'export', '--format', ''],
      ['harbor', 'export', '--format', 'k'],
      ['harbor', 'export', '--format', '='],
      ['harbor', 'export', '--format', '=', 's'],
      // Where `=` is none of the characters at which bash takes words apart.
      ['harbor', 'export', '--format=k'],
      ['harbor', 'export', '--format', 'keys', '--'],
      ['complete', 'z'],
      ['complete', 'zsh', 'b'],
      ['help', 'har'],
      ['retry', '--vendor', ''],
      ['enqueue', 'st'],
    ),
  ).toEqual([
    ['keys', 'set'],
    ['keys'],
    ['keys', 'set'],
    ['set'],
    ['--format=keys'],
    isLeft.filter((option) => option.startsWith('--')),
    ['zsh'],
    [],
    ['harbor'],
    [],
    [],
  ]);
});

it('bash completes the folders of --data, with blanks in their names, and no files', () => {
  expect(offered(['start', '--data', 'm'], ['status', '--data', '=', 'my'])).toEqual([
    ['mine', 'my data'],
    ['my data'],
  ]);
});

it('bash takes the value of an option for no command, and what follows -- for no option', () => {
  const [afterValue, afterDashes] = offered(
    ['retry', '--error', 'status', '--d'],
    ['enqueue', '--', '-'],
  );
  expect(afterValue).toEqual(['--data', '--dry-run']);
  expect(afterDashes).toEqual([]);
});

it('a half-typed line runs nothing when bash completes it', () => {
  const traps = ['$(: > ran)', '`: > ran`', '"$(: > ran)', '<(: > ran)', 'x[$(: > ran)]'];
  for (const trap of traps) {
    offered(
      [trap, ''],
      ['retry', '--error', trap, '--'],
      ['status', trap],
      ['start', '--data', trap],
      ['harbor', 'export', '--format', trap],
      [`--${trap}=${trap}`],
    );
  }
  expect(existsSync(join(folder, 'ran'))).toBe(false);
});
