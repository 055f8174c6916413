import { spawn } from 'node:child_process';

/** The environment of commands that reach the engine. */
export type Environment = Readonly<Record<string, string>>;

/** What a command did. */
export interface Outcome {
  readonly code: number | null;
  /** Standard output. */
  readonly stdout: string;
  /** Standard output and standard error, as a person sees them. */
  readonly printed: string;
}

export interface RunOptions {
  readonly env: Environment;
  readonly cwd?: string;
  /** In milliseconds; then it is killed, with all that it has started. */
  readonly timeoutMs?: number;
  /** Ends the command as soon as it has printed this: for one that goes on for ever. */
  readonly untilPrinted?: RegExp;
}

/** Runs a program and tells how it ended, whichever way. */
export function tryProgram(
  [program = '', ...args]: readonly string[],
  { env, cwd, timeoutMs = 600_000, untilPrinted }: RunOptions,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: { ...env },
      ...(cwd === undefined ? {} : { cwd }),
      stdio: ['ignore', 'pipe', 'pipe'],
      // In a process group of its own, so that what it has started ends with it.
      detached: true,
    });
    const end = (signal: NodeJS.Signals): void => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal);
    };
    const timer = setTimeout(() => end('SIGKILL'), timeoutMs);
    let [stdout, printed] = ['', ''];
    const take = (text: string): void => {
      printed += text;
      if (untilPrinted?.test(printed) === true) end('SIGTERM');
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      take(text);
    });
    child.stderr.setEncoding('utf8').on('data', take);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, printed });
    });
  });
}

/**
 * Runs a program.
 * @returns its standard output, without the white space around it
 * @throws Error with all that it printed, if it fails
 */
export async function runProgram(command: readonly string[], options: RunOptions): Promise<string> {
  const { code, stdout, printed } = await tryProgram(command, options);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${printed}`);
  return stdout.trim();
}
