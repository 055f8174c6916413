import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  dropRunFile,
  readRunFile,
  takeRunFile,
  writeRunFile,
} from '../../../../cli/start/run-file.ts';
import { commandConfig } from '../../../../cli/command-config.ts';
import { TallyError } from '../../../../shared/errors.ts';

const RUN = {
  databaseUrl: 'postgres://tally:hunter2x@127.0.0.1:5432/tally',
  redisUrl: 'redis://:hunter2x@127.0.0.1:6379',
  dashboardUrl: 'http://127.0.0.1:3000',
};
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tally-run-file-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

function file(): string {
  return join(folder, 'run.json');
}

function refusal(data = folder): TallyError {
  try {
    takeRunFile(data);
  } catch (error) {
    if (error instanceof TallyError) return error;
    throw error;
  }
  throw new Error('the folder was taken');
}

/** Does it as somebody who may not read the file: another user for root, or without its right. */
function asStranger<T>(act: () => T): T {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  else chmodSync(file(), 0);
  try {
    return act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

function endedPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

it('other commands read what a running start has written', () => {
  takeRunFile(folder);
  writeRunFile(folder, RUN);
  expect(readRunFile(folder)).toMatchObject({ pid: process.pid, ...RUN });
});

it("a folder that isn't there yet is made", () => {
  takeRunFile(join(folder, 'a', 'b'));
  expect(readRunFile(join(folder, 'a', 'b'))?.pid).toBe(process.pid);
});

it.each([
  ['is a file', 'file', 'EEXIST: file already exists'],
  ['lies below a file', join('file', 'data'), 'ENOTDIR: not a directory'],
])('a data folder that %s is named with what to do', (_what, path, code) => {
  writeFileSync(join(folder, 'file'), '');
  const data = join(folder, path);
  const { code: kind, message } = refusal(data);
  expect(kind).toBe('BAD_DATA_FOLDER');
  expect(message).toContain(`${data} can't be used as the data folder (${code})`);
  expect(message).toContain('--data');
});

it('a folder in which nothing ever ran has nothing to read', () => {
  expect(readRunFile(folder)).toBeUndefined();
  expect(readRunFile(join(folder, 'missing'))).toBeUndefined();
});

it("the file of a killed start doesn't count, and the folder can be taken", () => {
  writeFileSync(file(), JSON.stringify({ pid: endedPid(), ...RUN }));
  expect(readRunFile(folder)).toBeUndefined();
  takeRunFile(folder);
  expect(readRunFile(folder)).toMatchObject({ pid: process.pid, databaseUrl: '' });
});

it("the file of a killed start doesn't count even when another process has its number", () => {
  takeRunFile(folder);
  const own = JSON.parse(readFileSync(file(), 'utf8')) as { began: string };
  writeFileSync(file(), JSON.stringify({ ...own, ...RUN, began: `${own.began}0` }));
  expect(readRunFile(folder)).toBeUndefined();
  takeRunFile(folder);
  expect(readRunFile(folder)).toMatchObject({ pid: process.pid, databaseUrl: '' });
});

it.each(['', '{"pid":', '[]', 'null', '{}', '{"pid":"x"}'])(
  'a file that was cut short counts for nothing, and the folder can be taken: %s',
  (text) => {
    writeFileSync(file(), text);
    expect(readRunFile(folder)).toBeUndefined();
    takeRunFile(folder);
    expect(readRunFile(folder)?.pid).toBe(process.pid);
  },
);

it('a folder in use by another start is refused with its process, its dashboard and a way out', () => {
  const other = JSON.stringify({ pid: process.ppid, ...RUN });
  writeFileSync(file(), other);
  const { code, message } = refusal();
  expect(code).toBe('ALREADY_RUNNING');
  expect(message).toContain(`process ${process.ppid}`);
  expect(message).toContain('dashboard http://127.0.0.1:3000');
  expect(message).toContain('--data');
  expect(message).not.toContain('hunter2x');
  expect(readFileSync(file(), 'utf8')).toBe(other);
});

it('a folder whose start has no dashboard yet is refused as well', () => {
  writeFileSync(file(), JSON.stringify({ pid: process.ppid, ...RUN, dashboardUrl: '' }));
  expect(refusal().message).toContain(`(process ${process.ppid})`);
});

it('nobody but the owner can read the passwords in it', () => {
  writeFileSync(file(), 'left by another user of a shared folder');
  chmodSync(file(), 0o666);
  takeRunFile(folder);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  writeRunFile(folder, RUN);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
});

it('the file of another user is named and left alone', () => {
  writeFileSync(file(), JSON.stringify({ pid: process.pid, ...RUN }), { mode: 0o600 });
  chmodSync(folder, 0o777);
  const { code, message } = asStranger(refusal);
  expect(code).toBe('RUN_FILE_UNREADABLE');
  expect(message).toContain(`${file()} can't be read (EACCES)`);
  expect(message).toContain('--data');
  expect(() => asStranger(() => readRunFile(folder))).toThrow(message);
  expect(existsSync(file())).toBe(true);
});

it('a folder that is taken exclusively can be taken by one only', () => {
  takeRunFile(folder);
  expect(refusal().code).toBe('ALREADY_RUNNING');
});

it('a start that ends leaves the folder free, and may say so twice', () => {
  takeRunFile(folder);
  dropRunFile(folder);
  dropRunFile(folder);
  expect(existsSync(file())).toBe(false);
  takeRunFile(folder);
});

it('a start that ends leaves alone what another one has since claimed', () => {
  takeRunFile(folder);
  const other = JSON.stringify({ pid: process.ppid, ...RUN });
  writeFileSync(file(), other);
  dropRunFile(folder);
  expect(readFileSync(file(), 'utf8')).toBe(other);
});

it('a command beside a start that has not told its servers yet says that it is still starting', () => {
  takeRunFile(folder);
  expect(() => commandConfig(['DATABASE_URL'], folder)).toThrow('is still starting');
  writeRunFile(folder, RUN);
  expect(commandConfig(['DATABASE_URL'], folder).DATABASE_URL).toBe(RUN.databaseUrl);
});
