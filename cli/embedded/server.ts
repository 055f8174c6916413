import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cp } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const COMMAND_TIMEOUT_MS = 180_000;
const POLL_MS = 20;
/** Errors of the operating system, which cause whatever the program prints after them. */
const CAUSE =
  /no space left|quota exceeded|permission denied|read-only file system|cannot allocate memory|address already in use/i;
const PROBLEM = /\b(fatal|panic|error|could not|cannot|denied|not found)\b/i;

/** Options of both launchers. */
export interface EmbeddedOptions {
  /** Folder in which data, password and log are kept between runs; created if missing. */
  readonly dataDirectory: string;
  /** Prints a line for people; it never contains a password. */
  readonly say: (line: string) => void;
  /** Used if it is free, else any other. */
  readonly preferredPort?: number;
}

/** A server that this process has started and must stop. */
export interface EmbeddedServer {
  /** Its URL, including user and password: not for a log or a command line. */
  readonly url: string;
  /**
   * Stops the server and resolves once its process is gone. Idempotent: all calls share a promise.
   * @throws Error if the process survives even SIGKILL
   */
  stop(): Promise<void>;
}

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
 * The user nobody, for a server that refuses to run as root.
 * @throws Error if there is none, or if we can't become it, as in some containers
 */
export async function nobody(): Promise<SystemUser> {
  try {
    const [uid, gid] = await Promise.all([
      run('id', ['-u', 'nobody']),
      run('id', ['-g', 'nobody']),
    ]);
    const identity = { uid: Number(uid), gid: Number(gid) };
    await run('test', ['-d', '/'], { as: identity });
    return identity;
  } catch (error) {
    throw new Error('root has to become nobody for it and may not: run as another user', {
      cause: error,
    });
  }
}

/**
 * Whether a user can own and use files in our folder, which is made accessible for that. It is
 * tried rather than computed from mode bits, because parent folders, mounts and user namespaces
 * matter as well.
 */
export async function canOwnBelow(folder: string, as: SystemUser): Promise<boolean> {
  let probe: string | undefined;
  try {
    chmodSync(folder, 0o755);
    probe = mkdtempSync(join(folder, 'probe-'));
    chownSync(probe, as.uid, as.gid);
    await run('test', ['-w', probe], { as });
    return true;
  } catch {
    return false;
  } finally {
    if (probe !== undefined) rmSync(probe, { recursive: true });
  }
}

/**
 * Copies a folder so that every user can read it and run what is in its `bin`: completely or not at
 * all.
 */
export async function copyForAnyUser(from: string, to: string): Promise<void> {
  mkdirSync(dirname(to), { recursive: true });
  chmodSync(dirname(to), 0o755);
  const partial = mkdtempSync(`${to}-`);
  await cp(from, partial, { recursive: true, verbatimSymlinks: true });
  chmodSync(partial, 0o755);
  for (const entry of readdirSync(partial, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const runs = entry.isDirectory() || entry.parentPath === join(partial, 'bin');
    chmodSync(join(entry.parentPath, entry.name), runs ? 0o755 : 0o644);
  }
  // Another process may have been faster; its copy is just as good.
  if (existsSync(to)) rmSync(partial, { recursive: true });
  else renameSync(partial, to);
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

/**
 * Checks a condition every 20 ms until it holds.
 * @throws Error with the message `failure` after `timeoutMs` milliseconds
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  failure: string,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(failure);
    await delay(POLL_MS);
  }
}

/** The password in this file; undefined if there is none or only part of one. */
export function readPassword(file: string): string | undefined {
  const text = readIfThere(file);
  return text !== undefined && /^[0-9a-f]{48}$/.test(text) ? text : undefined;
}

/**
 * The password in this file; the first time, a random one, which only the file's owner can read.
 */
export function keptPassword(file: string): string {
  const kept = readPassword(file);
  if (kept !== undefined) return kept;
  const password = randomBytes(24).toString('hex');
  writeDurably(file, password);
  return password;
}

/** The text of a file; undefined if it doesn't exist. */
export function readIfThere(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/**
 * Writes a file that only its owner can read, completely or not at all, even if the power fails.
 */
export function writeDurably(file: string, text: string): void {
  const partial = `${file}.${process.pid}`;
  writeFileSync(partial, text, { mode: 0o600, flush: true });
  renameSync(partial, file);
}

/** Opens a new log file for appending, and keeps that of the last run as `….previous`. */
export function openLog(file: string): number {
  if (existsSync(file)) renameSync(file, `${file}.previous`);
  return openSync(file, 'a', 0o600);
}

/** Makes all calls share the promise of the first. */
export function once(action: () => Promise<void>): () => Promise<void> {
  let promise: Promise<void> | undefined;
  return () => (promise ??= action());
}
