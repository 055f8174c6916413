import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, TallyError } from '../../shared/errors.ts';
import { isAlive } from '../embedded/server.ts';

/** What a running `tally start` tells other commands; readable by its owner alone, since it has passwords. */
export interface RunFile {
  readonly pid: number;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly dashboardUrl: string;
}

function pathOf(dataDirectory: string): string {
  return join(dataDirectory, 'run.json');
}

/** What runs in this data folder, or undefined: nothing does. */
export function readRunFile(dataDirectory: string): RunFile | undefined {
  try {
    const run = JSON.parse(readFileSync(pathOf(dataDirectory), 'utf8')) as RunFile;
    return isAlive(run.pid) ? run : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the data folder where there is none, and takes it for this process.
 * @throws TallyError ALREADY_RUNNING when another `tally start` has it, BAD_DATA_FOLDER when it can't be written
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
      if (code !== 'EEXIST' || syscall === 'mkdir') {
        throw new TallyError(
          'BAD_DATA_FOLDER',
          `${dataDirectory} can't be used as the data folder (${code ?? describeError(error)}); give one that this user may create and write: npm start -- --data <dir>`,
          { cause: error },
        );
      }
    }
    const running = readRunFile(dataDirectory);
    if (running !== undefined) throw alreadyRunning(dataDirectory, running);
    if (stale) rmSync(pathOf(dataDirectory), { force: true });
  }
  throw new TallyError('ALREADY_RUNNING', `another tally start takes ${dataDirectory} just now`);
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
  run: Omit<RunFile, 'pid'>,
  flag: 'w' | 'wx' = 'w',
): void {
  const text = JSON.stringify({ pid: process.pid, ...run });
  writeFileSync(pathOf(dataDirectory), text, { mode: 0o600, flag });
}

export function dropRunFile(dataDirectory: string): void {
  rmSync(pathOf(dataDirectory), { force: true });
}
