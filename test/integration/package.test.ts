import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { BUSY_MACHINE_MS } from '../support/wait.ts';
import { newFolder } from '../support/new-folder.ts';

const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const manifest = z
  .object({ version: z.string(), dependencies: z.record(z.string(), z.string()) })
  .parse(JSON.parse(readFileSync('package.json', 'utf8')));

// How npm reaches its registry and its cache on this machine.
const NPM = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    /^(?:HOME|npm_config_(?:registry|cache|userconfig)|https?_proxy|no_proxy)$/i.test(name),
  ),
);

/** Runs a program as a user would, without any setting of Tally; fails with what it printed. */
async function run(cwd: string, program: string, ...args: string[]): Promise<string> {
  const env = { ...NPM, PATH: process.env['PATH'], TERM: 'dumb' };
  const { stdout, stderr } = await promisify(execFile)(program, args, { cwd, env }).catch(
    (error: Error & { stdout: string; stderr: string }) => {
      if (error.stderr.startsWith('tally:')) return error;
      throw new Error(`${error.message}\n${error.stdout}`);
    },
  );
  return `${stdout}${stderr}`.trim();
}

/** The project as somebody has it who has just cloned it and installed the dependencies. */
function cloneWithoutBuild(): string {
  const clone = join(folder, 'clone');
  const left = new Set(['node_modules', 'dist', '.git', '.tally', 'test', 'bench']);
  mkdirSync(clone);
  cpSync('.', clone, {
    recursive: true,
    filter: (path) => !left.has(path.split('/')[0] ?? '') || path === '.',
  });
  symlinkSync(resolve('node_modules'), join(clone, 'node_modules'));
  return clone;
}

describe('the npm package', () => {
  const home = join(folder, 'home');
  let files: string[] = [];

  beforeAll(async () => {
    await run(cloneWithoutBuild(), 'npm', 'pack', '--pack-destination', folder);
    const tarball = join(folder, `tally-refresh-${manifest.version}.tgz`);
    files = (await run(folder, 'tar', '-tzf', tarball)).split('\n');
    mkdirSync(home);
    writeFileSync(join(home, 'package.json'), '{"private":true}');
    await run(home, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', tarball);
  }, 30 * BUSY_MACHINE_MS);

  it('has code, SQL, the script of the pages and the documents, and nothing that only developers need', () => {
    for (const file of [
      'dist/cli/main.js',
      'dist/shared/postgres/sql/rollup.sql',
      'dist/shared/postgres/migrations/0001_outbox.sql',
      'dist/dashboard/browser/live.js',
      'docs/operations.md',
      'deploy/helm/tally/Chart.yaml',
      'CHANGELOG.md',
    ]) {
      expect(files).toContain(`package/${file}`);
    }
    expect(files.filter((file) => /\.map$|\.ts$|\/test\/|\.tally-sources/.test(file))).toEqual([]);
  });

  it('has no map of sources that are not in it', () => {
    const code = readFileSync(join(home, 'node_modules/tally-refresh/dist/cli/main.js'), 'utf8');
    expect(code).not.toContain('sourceMappingURL');
  });

  it('every relative link of its documents leads to a file in it', () => {
    const installed = join(home, 'node_modules/tally-refresh');
    const documents = files.filter((file) => file.endsWith('.md'));
    const links = documents.flatMap((file) => {
      const path = join(installed, file.replace('package/', ''));
      return [...readFileSync(path, 'utf8').matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map(
        ([, link = '']) => join(dirname(path), link),
      );
    });
    expect(links.length).toBeGreaterThan(50);
    expect(links.filter((path) => !existsSync(path))).toEqual([]);
  });

  it('`npx tally --version` tells the version of the package', async () => {
    expect(await run(home, 'npx', 'tally', '--version')).toBe(manifest.version);
  });

  it('its hints name the command that exists where it is installed', async () => {
    const output = await run(home, 'npx', 'tally', 'status');
    expect(output).toContain('run everything on this machine with: tally start)');
  });

  it(
    '`npx tally start --once` in an otherwise empty folder refreshes its demonstration',
    async () => {
      const output = await run(home, 'npx', 'tally', 'start', '--once', '--executions', '500');
      expect(output).toContain('Disagreements left: 0.');
      expect(output).toContain('Stopped; no process is left behind.');
    },
    30 * BUSY_MACHINE_MS,
  );
});
