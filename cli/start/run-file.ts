import { randomUUID } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TallyError } from '../../shared/errors.ts';
import { startCommand } from '../../shared/process/installation.ts';
import { makeFolder, writeDurably } from '../embedded/kept-files.ts';
import { isAlive } from '../embedded/programs.ts';
import { ClaimedError, claimFile } from './claim.ts';
import { badDataFolder } from './data-folder.ts';

/**
 * What a running `tally start` tells other commands. Only its owner can read it, because it
 * contains passwords.
 */
export interface RunFile {
  readonly pid: number;
  /**
   * Tells that process from a later one with the same pid; undefined where the system doesn't say.
   */
  readonly began?: string;
  /** Distinguishes this text from that of every other run, even of the same process. */
  readonly claim?: string;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly dashboardUrl: string;
}

function pathOf(dataDirectory: string): string {
  return join(dataDirectory, 'run.json');
}

/**
 * The `tally start` that runs in this data folder; undefined if none does.
 * @throws TallyError RUN_FILE_UNREADABLE if the file belongs to another user
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
  return runningIn(text);
}

/** What a run file says, if its process still runs. */
function runningIn(text: string): RunFile | undefined {
  try {
    const run = JSON.parse(text) as RunFile;
    return isStillRunning(run) ? run : undefined;
  } catch {
    // Not ours, or of a disk that was full.
    return undefined;
  }
}

// After a restart of the machine or container, another process soon has the same pid, perhaps this
// one.
function isStillRunning({ pid, began }: RunFile): boolean {
  return isAlive(pid) && (began === undefined || began === beginOf(pid));
}

/** When a process started, unique among all processes with its pid; undefined without /proc. */
function beginOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // The name, in parentheses, may contain blanks; the start time is the 20th field after it.
    const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19];
    return `${boot} ${ticks}`;
  } catch {
    return undefined;
  }
}

/**
 * Creates the data folder if necessary and claims it for this process.
 * @throws TallyError ALREADY_RUNNING if another `tally start` has it
 * @throws TallyError RUN_FILE_UNREADABLE if one of another user may have it
 * @throws TallyError BAD_DATA_FOLDER if it can't be written
 */
export function takeRunFile(dataDirectory: string): void {
  // Read first: whoever may not write here is told whose folder it is, not that it can't be written.
  const running = readRunFile(dataDirectory);
  if (running !== undefined) throw alreadyRunning(dataDirectory, running);
  const claim = runText({ databaseUrl: '', redisUrl: '', dashboardUrl: '' });
  try {
    makeFolder(dataDirectory);
    claimFile(pathOf(dataDirectory), claim, (text) => runningIn(text) !== undefined);
  } catch (error) {
    throw error instanceof ClaimedError
      ? alreadyRunning(dataDirectory, JSON.parse(error.claim) as RunFile)
      : badDataFolder(dataDirectory, error);
  }
}

function alreadyRunning(dataDirectory: string, { pid, dashboardUrl }: RunFile): TallyError {
  const address = dashboardUrl === '' ? '' : `, dashboard ${dashboardUrl}`;
  return new TallyError(
    'ALREADY_RUNNING',
    `tally start already runs in ${dataDirectory} (process ${pid}${address}); use it, or give this one a folder of its own: ${startCommand('--data .tally-2')}`,
  );
}

/**
 * Writes the run file for other commands.
 * @throws TallyError BAD_DATA_FOLDER if it can't be written
 */
export function writeRunFile(
  dataDirectory: string,
  run: Omit<RunFile, 'pid' | 'began' | 'claim'>,
): void {
  // In one step: a command that read half of it would think that no start runs here.
  try {
    writeDurably(pathOf(dataDirectory), runText(run));
  } catch (error) {
    throw badDataFolder(dataDirectory, error);
  }
}

function runText(run: Omit<RunFile, 'pid' | 'began' | 'claim'>): string {
  return JSON.stringify({
    pid: process.pid,
    began: beginOf(process.pid),
    claim: randomUUID(),
    ...run,
  });
}

/**
 * Removes the run file of this process, so that the data folder is free. Call it when nothing works
 * in the folder any more. Never throws.
 */
export function dropRunFile(dataDirectory: string): void {
  try {
    const running = runningIn(readFileSync(pathOf(dataDirectory), 'utf8'));
    // It is another's where this process never had the folder, or somebody has deleted it since.
    if (running?.pid === process.pid) rmSync(pathOf(dataDirectory));
  } catch {
    // A file that stays counts for nothing once this process is gone.
  }
}
