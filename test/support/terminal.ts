import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { newFolder } from './new-folder.ts';
import { until } from './wait.ts';

/** A terminal of a size of its own (a window of tmux) in which one command runs. */
export interface TestTerminal {
  /** What stands on it and has scrolled away at its top, line by line as a person sees it. */
  screen(): string[];
  /** Every byte that the command has written. */
  written(): string;
  /** Presses keys, in the words of tmux, for example `C-c`. */
  press(key: string): void;
  /** Closes the window, so that the system sends SIGHUP to whatever runs in it. */
  close(): void;
  /** Waits for the end of the command. @returns its exit code */
  ended(): Promise<number>;
  /** Waits until it shows this. */
  shows(text: string | RegExp): Promise<void>;
}

/**
 * Opens a terminal and runs one command in it, written as for the shell. Gone after the test, with what runs there.
 * @param environment all that the command gets, but for PATH and HOME; TERM says what kind of terminal it is
 */
export async function openTerminal(
  command: string,
  size: { readonly columns: number; readonly rows: number },
  environment: Readonly<Record<string, string>>,
): Promise<TestTerminal> {
  const folder = newFolder();
  const server = join(folder, 'tmux');
  const [record, status] = [join(folder, 'written'), join(folder, 'status')];
  const tmux = (...args: readonly string[]): string =>
    execFileSync('tmux', ['-S', server, '-f', '/dev/null', ...args], { encoding: 'utf8' });
  const variables = Object.entries({
    PATH: process.env['PATH'] ?? '',
    HOME: process.env['HOME'] ?? '',
    TERM: 'xterm',
    ...environment,
  }).map(([name, value]) => `${name}=${value}`);
  // Waits for a key: by then all that it writes is recorded. A Ctrl-C doesn't end the shell, which has the exit code to tell.
  const words = [
    'env',
    '-i',
    ...variables,
    'sh',
    '-c',
    `trap : INT; read -r _; ${command}; echo $? > ${status}`,
  ];
  const area = ['-x', `${size.columns}`, '-y', `${size.rows}`];
  tmux('new-session', '-d', ...area, ...words, ';', 'set', '-g', 'remain-on-exit', 'on');
  onTestFinished(() => {
    spawnSync('tmux', ['-S', server, 'kill-server']);
    rmSync(folder, { recursive: true });
  });
  tmux('pipe-pane', '-O', `cat > ${record}`);
  tmux('send-keys', 'Enter');
  const screen = (): string[] =>
    tmux('capture-pane', '-p', '-S', '-').split('\n').slice(1).join('\n').trimEnd().split('\n');
  return {
    screen,
    written: () => readFileSync(record, 'utf8'),
    press: (key) => void tmux('send-keys', key),
    close: () => void tmux('kill-server'),
    ended: async () => {
      const code = await until(
        () => `the command to end; the terminal shows\n${screen().join('\n')}`,
        () => existsSync(status) && readFileSync(status, 'utf8').trim(),
        90_000,
      );
      return Number(code);
    },
    shows: async (text) => {
      await until(
        () => `the terminal to show ${String(text)}; it shows\n${screen().join('\n')}`,
        () =>
          screen().some((line) =>
            typeof text === 'string' ? line.includes(text) : text.test(line),
          ),
        90_000,
      );
    },
  };
}
