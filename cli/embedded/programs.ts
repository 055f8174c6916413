import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';

const COMMAND_TIMEOUT_MS = 180_000;
/** Errors of the operating system, which cause whatever the program prints after them. */
const CAUSE =
  /no space left|quota exceeded|permission denied|read-only file system|cannot allocate memory|address already in use/i;
const PROBLEM = /\b(fatal|panic|error|could not|cannot|denied|not found)\b/i;

/** The user that a command runs as. */
export interface SystemUser {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The environment for server processes. Nothing else may reach them: a broken `LANG` stops both
 * servers, `PG…` variables would change their settings, and our secrets aren't theirs.
 */
export function serverEnvironment(): Record<string, string | undefined> {
  return { PATH: process.env['PATH'], TZ: process.env['TZ'], LC_ALL: 'C' };
}

/**
 * Runs a short command in a session of its own, so that a Ctrl-C in the terminal doesn't reach it.
 * (`execa` would add a dozen packages for this one function, and its current version needs Node
 * 22.)
 * @returns its output, trimmed
 * @throws Error with one line: the command's name and the most informative line of its output
 */
export async function run(
  command: string,
  args: readonly string[],
  options: { as?: SystemUser | undefined; cwd?: string } = {},
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      ...options.as,
      // The command's user may not be able to enter our current folder.
      cwd: options.cwd ?? '/',
      env: serverEnvironment(),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // Not spawn's `timeout`, whose timer keeps the process alive even if the command couldn't be
    // started.
    const late = setTimeout(() => child.kill(), COMMAND_TIMEOUT_MS);
    const name = basename(command);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    child.once('error', (error) => {
      clearTimeout(late);
      reject(new Error(`${name} did not run: ${error.message}`));
    });
    child.once('close', (code, signal) => {
      clearTimeout(late);
      if (code === 0) resolve(output.trim());
      else reject(new Error(`${name} failed (${code ?? signal}): ${tellingLine(output)}`));
    });
  });
}

/**
 * The most informative line of a program's output: the first that names an error of the operating
 * system, else the last that names a problem, else the last. Empty if there are no lines.
 */
export function tellingLine(output: string): string {
  const lines = output.split('\n').map((line) => line.trim());
  return (
    lines.find((line) => CAUSE.test(line)) ??
    lines.findLast((line) => PROBLEM.test(line)) ??
    lines.findLast((line) => line) ??
    ''
  );
}

/** Full path of the first of these programs on PATH; undefined if none is there. */
export function findOnPath(names: readonly string[]): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return names
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

/**
 * Whether a process runs. A zombie doesn't: its parent just hasn't noticed (for example a
 * container's PID 1).
 */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  if (process.platform !== 'linux') return true;
  try {
    return !/^\d+ \(.*\) [ZX] /s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/**
 * Whether a process is a server that runs in this folder (its real path), and not another program
 * that reuses the pid. It is looked up as the server's user, because root may not without ptrace,
 * as in a container. Without /proc, the folder must be in the server's command line.
 */
export async function worksIn(pid: number, folder: string, as?: SystemUser): Promise<boolean> {
  if (!isAlive(pid)) return false;
  if (process.platform === 'linux') {
    const cwd = await run('readlink', [`/proc/${pid}/cwd`], { as }).catch(() => '');
    return cwd === folder || cwd === `${folder} (deleted)`;
  }
  const command = await run('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => '');
  return `${command} `.includes(` ${folder} `);
}
