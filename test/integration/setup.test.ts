import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { isAlive } from '../../cli/embedded/programs.ts';
import { newFolder } from '../support/new-folder.ts';
import { until } from '../support/wait.ts';

const QUICK_BUILD = `node -e "fs.mkdirSync('dist',{recursive:true})"`;
// It ends with the test at the latest, which deletes its folder.
const ENDLESS_BUILD = `node -e "fs.writeFileSync('pid',''+process.pid);setInterval(()=>fs.existsSync('pid')||process.exit(),100)"`;

/** A project without dependencies, with Tally's set-up. */
function newProject(build = QUICK_BUILD): { readonly folder: string; readonly lock: string } {
  const folder = newFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const project = { name: 'empty', version: '1.0.0' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...project, scripts: { build } }));
  writeFileSync(
    join(folder, 'package-lock.json'),
    JSON.stringify({ ...project, lockfileVersion: 3, packages: { '': project } }),
  );
  mkdirSync(join(folder, 'node_modules'));
  cpSync('deploy', join(folder, 'deploy'), { recursive: true });
  mkdirSync(join(folder, '.tally'));
  return { folder, lock: join(folder, '.tally', 'setup.lock') };
}

function setUp(folder: string, pauses?: Readonly<Record<string, string>>) {
  const preload = pauses === undefined ? [] : ['--import', './test/support/pause-at-read.mjs'];
  const child = spawn(process.execPath, [...preload, join(folder, 'deploy', 'setup.mjs')], {
    env: { PATH: process.env['PATH'], npm_config_audit: 'false', ...pauses },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  }
  return {
    pid: child.pid ?? 0,
    ended: once(child, 'close'),
    output: () => output,
    stopReading: () => child.stdout.destroy(),
  };
}

it('a set-up that was killed does not block the next one, even if its process number is taken again', async () => {
  const { folder, lock } = newProject();
  // This process runs, and isn't the one that held the lock.
  writeFileSync(lock, `${process.pid} another-boot 12345`);
  const { ended, output } = setUp(folder);
  expect(await ended).toEqual([0, null]);
  expect(output()).toContain('Building (npm run build).');
  expect(output()).not.toContain('Waiting');
  expect(existsSync(lock)).toBe(false);
});

it('a set-up that stands still while it replaces the lock of a dead one lets no two work at once', async () => {
  const { folder, lock } = newProject(ENDLESS_BUILD);
  const pauseFolder = newFolder();
  onTestFinished(() => rmSync(pauseFolder, { recursive: true }));
  writeFileSync(lock, `${process.pid} another-boot 12345`);
  const pauses = { PAUSE_FILE: lock, PAUSE_AT: '1,2', PAUSE_FOLDER: pauseFolder };
  const slow = setUp(folder, pauses);
  await until('it to have found it', () => existsSync(join(pauseFolder, 'paused-1')));
  const works = setUp(folder);
  await until('another one to work', () => existsSync(join(folder, 'pid')));
  writeFileSync(join(pauseFolder, 'go-1'), '');
  await until('it to go on a step', () => existsSync(join(pauseFolder, 'paused-2')));
  const third = setUp(folder);
  await until('a third to do something', () => third.output() !== '');
  expect(third.output()).toContain(
    `Waiting for another set-up of this project (process ${works.pid}).`,
  );
  writeFileSync(join(pauseFolder, 'go-2'), '');
  await until('the slow one to wait as well', () => slow.output().includes('Waiting'));
  for (const { pid, ended } of [slow, third, works]) {
    process.kill(pid, 'SIGTERM');
    await ended;
  }
});

it('a set-up whose reader goes away does its work without a word', async () => {
  const { folder } = newProject(`node -e "console.log('building');fs.mkdirSync('dist')"`);
  const { ended, output, stopReading } = setUp(folder);
  stopReading();
  expect(await ended).toEqual([0, null]);
  expect(output()).toBe('');
  expect(existsSync(join(folder, 'dist', '.tally-sources'))).toBe(true);
});

it('a set-up waits for one that runs, says so, and goes on when that one is done', async () => {
  const { folder, lock } = newProject();
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const began = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(lock, `${process.pid} ${boot} ${began}`);
  const { ended, output } = setUp(folder);
  await until('it to wait', () =>
    output().includes(`Waiting for another set-up of this project (process ${process.pid}).`),
  );
  expect(existsSync(join(folder, 'dist'))).toBe(false);
  rmSync(lock);
  expect(await ended).toEqual([0, null]);
  expect(existsSync(join(folder, 'dist'))).toBe(true);
});

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'a set-up that is ended by %s leaves neither npm nor what npm runs behind, nor its lock',
  async (signal) => {
    const { folder, lock } = newProject(ENDLESS_BUILD);
    const { pid, ended } = setUp(folder);
    const building = await until('the build to run', () => {
      const file = join(folder, 'pid');
      // It is there a moment before its content.
      return existsSync(file) ? Number(readFileSync(file, 'utf8')) || undefined : undefined;
    });
    onTestFinished(() => {
      if (isAlive(building)) process.kill(building, 'SIGKILL');
    });
    process.kill(pid, signal);
    expect(await ended).toEqual([null, signal]);
    await until('the build to be gone', () => !isAlive(building), 5_000);
    expect(existsSync(lock)).toBe(false);
  },
);
