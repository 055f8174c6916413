import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, TallyError } from '../../shared/errors.ts';
import { isAlive } from '../embedded/server.ts';

/** What a running `tally start` tells other commands; readable by its owner alone, since it has passwords. */
export interface RunFile {
  readonly pid: number;
  /** What tells that process from a later one with the same number; undefined where the system doesn't say. */
  readonly began?: string;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly dashboardUrl: string;
}

function pathOf(dataDirectory: string): string {
  return join(dataDirectory, 'run.json');
}

/**
 * What runs in this data folder, or undefined: nothing does.
 * @throws TallyError RUN_FILE_UNREADABLE when it can't be known, because the file is another user's
 */
export function readRunFile(dataDirectory: string): RunFile | undefined {
  let text: string;
  try {
    text = readFileSync(pathOf(dataDirectory), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') return undefined;
    throw new TallyError(
      'RUN_FILE_UNREADABLE',
      `${pathOf(dataDirectory)} can't be read (${code}), so it isn't known whether a tally start of another user runs there; run this as that user, or name another folder with --data`,
      { cause: error },
    );
  }
  try {
    const run = JSON.parse(text) as RunFile;
    return isStillRunning(run) ? run : undefined;
  } catch {
    // Cut short: whoever wrote it was killed.
    return undefined;
  }
}

// After a restart of the machine or of a container another process soon has the same number, perhaps this one.
function isStillRunning({ pid, began }: RunFile): boolean {
  return isAlive(pid) && (began === undefined || began === beginOf(pid));
}

/** When a process began, in a form that no other process with its number has; undefined where there is no /proc. */
function beginOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // The name, in parentheses, may have blanks; the begin is the 20th field after it.
    const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
    return `${boot} ${ticks}`;
  } catch {
    return undefined;
  }
}

/**
 * Makes the data folder where there is none, and takes it for this process.
 * @throws TallyError ALREADY_RUNNING when another `tally start` has it, RUN_FILE_UNREADABLE when one of another user may
 * have it, BAD_DATA_FOLDER when it can't be written
 */
export function takeRunFile(dataDirectory: string): void {
  const empty = { databaseUrl: '', redisUrl: '', dashboardUrl: '' };
  for (const stale of [true, false]) {
    try {
      mkdirSync(dataDirectory, { recursive: true });
      // Exclusive: of two that start at the same moment, one fails here.
      writeRunFile(dataDirectory, empty, 'wx');
      return;
    } catch (error) {
      // Of the folder, EEXIST is told as well: where a file has its name.
      const { code, syscall } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST' || syscall === 'mkdir') throw badFolder(dataDirectory, error);
    }
    const running = readRunFile(dataDirectory);
    if (running !== undefined) throw alreadyRunning(dataDirectory, running);
    try {
      if (stale) rmSync(pathOf(dataDirectory), { force: true });
    } catch (error) {
      throw badFolder(dataDirectory, error);
    }
  }
  throw new TallyError('ALREADY_RUNNING', `another tally start takes ${dataDirectory} just now`);
}

function badFolder(dataDirectory: string, error: unknown): TallyError {
  const reason = (error as NodeJS.ErrnoException).code ?? describeError(error);
  return new TallyError(
    'BAD_DATA_FOLDER',
    `${dataDirectory} can't be used as the data folder (${reason}); give one that this user may create and write: npm start -- --data <dir>`,
    { cause: error },
  );
}

function alreadyRunning(dataDirectory: string, { pid, dashboardUrl }: RunFile): TallyError {
  const address = dashboardUrl === '' ? '' : `, dashboard ${dashboardUrl}`;
  return new TallyError(
    'ALREADY_RUNNING',
    `tally start already runs in ${dataDirectory} (process ${pid}${address}); use it, or give this one a folder of its own: npm start -- --data .tally-2`,
  );
}

export function writeRunFile(
  dataDirectory: string,
  run: Omit<RunFile, 'pid' | 'began'>,
  flag: 'w' | 'wx' = 'w',
): void {
  const text = JSON.stringify({ pid: process.pid, began: beginOf(process.pid), ...run });
  writeFileSync(pathOf(dataDirectory), text, { mode: 0o600, flag });
}

export function dropRunFile(dataDirectory: string): void {
  rmSync(pathOf(dataDirectory), { force: true });
}
