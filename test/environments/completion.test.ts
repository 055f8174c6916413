import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { everyHelp, outputOf } from '../support/help.ts';
import { newFolder } from '../support/new-folder.ts';
import { openTerminal, type TestTerminal } from '../support/terminal.ts';
import { until } from '../support/wait.ts';

const home = newFolder();
afterAll(() => rmSync(home, { recursive: true }));
mkdirSync(join(home, 'my data'));
writeFileSync(join(home, 'my file'), '');

// Completing runs no program of Tally's: this one would tell.
const PATH = [join(home, 'bin'), process.env['PATH']].join(delimiter);
mkdirSync(join(home, 'bin'));
writeFileSync(join(home, 'bin/tally'), `#!/bin/sh\n: > ${join(home, 'ran')}\n`);
chmodSync(join(home, 'bin/tally'), 0o755);

const printed = async (shell: string): Promise<string> => `${await outputOf('complete', shell)}\n`;
const commands = await everyHelp();

/** How a shell is set up as `tally complete --help` says, and told to ask with `> `. */
const SHELLS: Readonly<Record<string, () => Promise<void>>> = {
  bash: async () => {
    writeFileSync(join(home, '.tally.bash'), await printed('bash'));
    writeFileSync(join(home, '.bashrc'), `PS1='> '\n. ~/.tally.bash\n`);
  },
  zsh: async () => {
    writeFileSync(join(home, '.tally.zsh'), await printed('zsh'));
    const load = 'autoload -U compinit && compinit -u\n. ~/.tally.zsh';
    writeFileSync(join(home, '.zshrc'), `PS1='> '\n${load}\n`);
  },
  fish: async () => {
    mkdirSync(join(home, '.config/fish/completions'), { recursive: true });
    writeFileSync(join(home, '.config/fish/completions/tally.fish'), await printed('fish'));
    writeFileSync(
      join(home, '.config/fish/config.fish'),
      `function fish_prompt; echo '> '; end\nset -g fish_greeting\nset -g fish_autosuggestion_enabled 0\n`,
    );
  },
};

async function openShell(shell: string): Promise<TestTerminal> {
  await SHELLS[shell]?.();
  const size = { columns: 160, rows: 60 };
  const terminal = await openTerminal(`cd; exec ${shell} -i`, size, { HOME: home, PATH });
  await terminal.shows(/^> ?$/);
  return terminal;
}

/**
 * Types a line, presses Tab, waits until the terminal shows this, and takes the line back.
 * @returns what the terminal showed from the line on
 */
async function typed(terminal: TestTerminal, line: string, then: RegExp): Promise<string> {
  const before = terminal.screen().length - 1;
  terminal.press(line);
  terminal.press('Tab');
  const shown = await until(
    () => `${String(then)} on the terminal, which shows\n${terminal.screen().join('\n')}`,
    () => {
      const text = terminal.screen().slice(before).join('\n');
      return then.test(text) ? text : undefined;
    },
  );
  // Keys are read in order; a Ctrl-C might interrupt the completion alone.
  terminal.press('C-u');
  terminal.press('Enter');
  await until(
    () => `a new prompt on the terminal, which shows\n${terminal.screen().join('\n')}`,
    () => terminal.screen().length > before + 1 && terminal.screen().at(-1) === '>',
  );
  return shown;
}

describe.each(Object.keys(SHELLS))('%s', (shell) => {
  it('completes commands, options, their choices and folders, and runs nothing', async () => {
    const terminal = await openShell(shell);
    const becomes = async (line: string, whole: RegExp): Promise<void> => {
      await typed(terminal, line, whole);
    };
    await becomes('tally recon', /^> tally reconcile$/m);
    await becomes('tally harbor exp', /^> tally harbor export$/m);
    await becomes('tally harbor export --form', /^> tally harbor export --format[= ]?$/m);
    await becomes('tally harbor export --format k', /^> tally harbor export --format keys$/m);
    await becomes('tally harbor export --format=k', /^> tally harbor export --format=keys$/m);
    await becomes('tally complete z', /^> tally complete zsh$/m);
    await becomes('tally help mig', /^> tally help migrate$/m);
    await becomes('tally start --data m', /^> tally start --data my\\ data\/?$/m);
    await becomes('tally start --data=m', /^> tally start --data=my\\ data\/?$/m);
    await becomes('tally retry --error status --dr', /^> tally retry --error status --dry-run$/m);
    const ran = join(home, 'ran');
    await becomes(`tally retry --error "$(: > ${ran})" --dr`, /--dry-run$/m);
    expect(existsSync(ran)).toBe(false);
  });
});

// bash asks for a second Tab, and is asked for all of this without a terminal, in the tests of `npm test`.
describe.each(['zsh', 'fish'])('%s', (shell) => {
  it('lists after every command the commands and options of its help, with what they are for', async () => {
    const terminal = await openShell(shell);
    for (const { path, commands: below, options } of commands) {
      const line = `${path.join(' ')} `;
      const long = options.filter((option) => option.startsWith('--'));
      if (long.length > 0) {
        const last = new RegExp(`${long.at(-1)}\\b[^]*`);
        const shown = await typed(terminal, `${line}--`, last);
        const listed = shown.match(/(?<=^|\s)--[a-z][a-z-]*/gm) ?? [];
        expect([...new Set(listed)].toSorted(), line).toEqual(long.toSorted());
      }
      if (below.size > 0) {
        const last = new RegExp([...below.keys()].at(-1) ?? '');
        const shown = await typed(terminal, line, last);
        for (const [name, description] of below) {
          expect(shown, line).toMatch(new RegExp(`(?:^|\\s)${name}\\s`, 'm'));
          expect(shown, line).toContain(description.slice(0, 60));
        }
      }
    }
  });
});
