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
/** What the system says, which is the cause of whatever a program says after it. */
const CAUSE =
  /no space left|quota exceeded|permission denied|read-only file system|cannot allocate memory|address already in use/i;
const PROBLEM = /\b(fatal|panic|error|could not|cannot|denied|not found)\b/i;

/** What both launchers are told. */
export interface EmbeddedOptions {
  /** Where data, password and log are kept between runs; made if missing. */
  readonly dataDirectory: string;
  /** Takes lines for a person to read: never a password. */
  readonly say: (line: string) => void;
  /** Taken if it is free, else any other. */
  readonly preferredPort?: number;
}

/** A database server that this process has started and has to stop. */
export interface EmbeddedServer {
  /** Where it answers, with user and password in it: not for a log or a command line. */
  readonly url: string;
  /**
   * Stops the server and resolves when its process is gone. Idempotent: all calls share a promise.
   * @throws when the process survives even being killed
   */
  stop(): Promise<void>;
}

/** Who a command runs as. */
export interface SystemUser {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The environment for server processes. Nothing else of ours may reach them: a broken `LANG` stops
 * both servers, `PG…` variables would change the settings, and our secrets are none of their business.
 */
export function serverEnvironment(): Record<string, string | undefined> {
  return { PATH: process.env['PATH'], TZ: process.env['TZ'], LC_ALL: 'C' };
}

/**
 * Runs a short command in a session of its own, so that a Ctrl-C in the terminal doesn't reach it.
 * @returns its output, trimmed
 * @throws Error with one line: the command's name and the most telling line of its output
 */
export async function run(
  command: string,
  args: readonly string[],
  options: { as?: SystemUser | undefined; cwd?: string } = {},
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      ...options.as,
      // Our own folder may be closed to the user that the command runs as.
      cwd: options.cwd ?? '/',
      env: serverEnvironment(),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    // Not spawn's own `timeout`: its timer survives a command that couldn't be started, and keeps the process.
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
 * @throws Error when there is none or we can't become it, as in some containers
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
 * Whether a user can own and use things in our folder, which is opened for it. Tried out rather than
 * read from mode bits: the folders above, mounts and user namespaces have a say in it too.
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

/** Copies a folder so that every user can read it and run what is in its `bin`; whole or not at all. */
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
  // Another process may have been faster; its copy is as good.
  if (existsSync(to)) rmSync(partial, { recursive: true });
  else renameSync(partial, to);
}

/** The first line that names a cause in the system, else the last that names a problem, else the last, else an empty string. */
export function tellingLine(output: string): string {
  const lines = output.split('\n').map((line) => line.trim());
  return (
    lines.find((line) => CAUSE.test(line)) ??
    lines.findLast((line) => PROBLEM.test(line)) ??
    lines.findLast((line) => line) ??
    ''
  );
}

/** Full path of the first of these programs that is on PATH. */
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

/** Whether there is such a process. A zombie has ended: only its parent didn't notice (a container's PID 1). */
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
 * Whether a process is a server at work in this folder (its real path), and not another program that
 * got the pid of an earlier one. Looked up as the server's user: root may not without ptrace, as in
 * a container. Where there is no /proc, the folder has to be in the server's command line.
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
 * Looks every 20 ms whether a condition holds.
 * @throws Error with the sentence `failure` when it doesn't within `timeoutMs`
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

/** The password in this file, or undefined when there is none or only a part of one. */
export function readPassword(file: string): string | undefined {
  const text = readIfThere(file);
  return text !== undefined && /^[0-9a-f]{48}$/.test(text) ? text : undefined;
}

/** The password in this file; the first time a random one, kept there for its owner only. */
export function keptPassword(file: string): string {
  const kept = readPassword(file);
  if (kept !== undefined) return kept;
  const password = randomBytes(24).toString('hex');
  writeDurably(file, password);
  return password;
}

/** The text of a file, or undefined when there is no such file. */
export function readIfThere(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Writes a file for its owner only, whole or not at all, even if the power fails. */
export function writeDurably(file: string, text: string): void {
  const partial = `${file}.${process.pid}`;
  writeFileSync(partial, text, { mode: 0o600, flush: true });
  renameSync(partial, file);
}

/** Opens a new log file for appending and keeps the one of the last run as `….previous`. */
export function openLog(file: string): number {
  if (existsSync(file)) renameSync(file, `${file}.previous`);
  return openSync(file, 'a', 0o600);
}

/** Makes all calls share the promise of the first one. */
export function once(action: () => Promise<void>): () => Promise<void> {
  let promise: Promise<void> | undefined;
  return () => (promise ??= action());
}
