import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FILE_VARIABLES, loadConfig } from '../../../../shared/process/config.ts';
import { UsageError } from '../../../../shared/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'tally-settings-'));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(text: string): string {
  const path = join(folder, `file-${Math.random()}`);
  writeFileSync(path, text);
  return path;
}

function refusal(environment: Readonly<Record<string, string>>): string {
  try {
    loadConfig([], environment);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}

const VALUES = {
  DATABASE_URL: 'postgres://tally:hunter2x@db/tally',
  REDIS_URL: 'redis://:hunter2x@cache:6379',
  HARBOR_REDIS_URL: 'redis://:hunter2x@harbor:6379/1',
  API_TOKEN: 'hunter2x-token',
  DASHBOARD_USER: 'operator',
  DASHBOARD_PASSWORD: 'hunter2x-operator',
  DASHBOARD_VIEWER_USER: 'looker',
  DASHBOARD_VIEWER_PASSWORD: 'hunter2x-viewer',
};

it('every secret, URL and user of the dashboard can come from a file, whatever line end it has', () => {
  const environment = Object.fromEntries(
    Object.entries(VALUES).map(([name, value], at) => [
      `${name}_FILE`,
      fileWith(value + ['\n', '', '\r\n', '\n\n'][at % 4]),
    ]),
  );
  expect(Object.keys(environment)).toEqual(FILE_VARIABLES);
  expect(loadConfig(['DATABASE_URL', 'REDIS_URL'], environment)).toMatchObject(VALUES);
});

it('a line end after a value in the environment is no part of it', () => {
  const environment = Object.fromEntries(
    Object.entries({ ...VALUES, WORKER_CONCURRENCY: '7' }).map(([name, value]) => [
      name,
      `${value}\n`,
    ]),
  );
  expect(loadConfig([], environment)).toMatchObject({ ...VALUES, WORKER_CONCURRENCY: 7 });
});

it('a config depends on nothing but its sources, and files are one of them', () => {
  const read = (path: string): string => `${path}-of-8-or-more\n`;
  expect(loadConfig([], { API_TOKEN_FILE: '/run/token' }, read).API_TOKEN).toBe(
    '/run/token-of-8-or-more',
  );
});

describe('one sentence with the path, and never the secret, tells', () => {
  it("of a file that isn't there", () => {
    const path = join(folder, 'missing');
    expect(refusal({ API_TOKEN_FILE: path })).toBe(
      `API_TOKEN_FILE: ${path} can't be read (ENOENT); check the path and that this user may read it`,
    );
  });

  it('of a folder in its place', () => {
    const path = join(folder, 'a-folder');
    mkdirSync(path);
    expect(refusal({ API_TOKEN_FILE: path })).toContain(`${path} can't be read (EISDIR)`);
  });

  it.each(['', '\n', '\r\n\n'])('of an empty file (%j)', (text) => {
    const path = fileWith(text);
    expect(refusal({ DATABASE_URL_FILE: path })).toContain(`${path} is empty`);
  });

  it('of a value and a file that are both set', () => {
    const path = fileWith('hunter2x-token');
    const message = refusal({ API_TOKEN: 'hunter2x-other', API_TOKEN_FILE: path });
    expect(message).toBe('API_TOKEN and API_TOKEN_FILE are both set; unset one of them');
  });

  it.each(['hunter2x\nhunter2y', 'hunter2x\0hunter2y'])('of more than one line (%j)', (text) => {
    const path = fileWith(text);
    const message = refusal({ API_TOKEN_FILE: path });
    expect(message).toContain(path);
    expect(message).toContain('line break or another control character');
    expect(message).not.toContain('hunter2');
    expect(refusal({ API_TOKEN: text })).not.toContain('hunter2');
  });

  it("of a value in a file that isn't valid", () => {
    const message = refusal({ API_TOKEN_FILE: fileWith('hunter2') });
    expect(message).toContain('API_TOKEN must have at least 8 characters');
    expect(message).not.toContain('hunter2');
  });
});

it('an empty variable clears the other: neither counts as set', () => {
  const path = fileWith('hunter2x-token');
  expect(loadConfig([], { API_TOKEN: '', API_TOKEN_FILE: path }).API_TOKEN).toBe('hunter2x-token');
  expect(loadConfig([], { API_TOKEN: 'hunter2x', API_TOKEN_FILE: '' }).API_TOKEN).toBe('hunter2x');
});

describe('a pipe in place of a file', () => {
  function newPipe(): string {
    const path = join(folder, `pipe-${Math.random()}`);
    execFileSync('mkfifo', [path]);
    return path;
  }

  it('is read to its end, however slowly it is written', () => {
    const path = newPipe();
    // In a process of its own: reading blocks this one.
    spawn('sh', ['-c', '(sleep 0.2; printf hunter2x; sleep 0.2; echo -token) > "$1"', 'sh', path]);
    expect(loadConfig([], { API_TOKEN_FILE: path }).API_TOKEN).toBe('hunter2x-token');
  });

  it('into which nobody writes is named, rather than waited for without end', () => {
    const path = newPipe();
    expect(refusal({ API_TOKEN_FILE: path })).toBe(
      `API_TOKEN_FILE: ${path} is empty; write the value into it`,
    );
  });
});
