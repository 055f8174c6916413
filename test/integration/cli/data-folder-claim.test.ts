import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { readRunFile } from '../../../cli/start/run-file.ts';
import { newFolder } from '../../support/new-folder.ts';
import { until } from '../../support/wait.ts';

const CLAIM = `
  const { takeRunFile } = await import('./dist/cli/start/run-file.js');
  const [folder, atMs] = process.argv.slice(1);
  while (Date.now() < Number(atMs ?? 0));
  try {
    takeRunFile(folder);
    console.log('taken');
  } catch (error) {
    console.log(error.code ?? error.stack);
  }
  process.stdin.resume();`;

let folder: string;
let pauseFolder: string;

beforeEach(() => {
  folder = newFolder();
  pauseFolder = newFolder();
  onTestFinished(() => {
    for (const made of [folder, pauseFolder]) rmSync(made, { recursive: true });
  });
});

/** A process that claims the folder, says whether it could, and lives until the test has ended. */
function claimant(options: { pauseAtRead?: number; atMs?: number } = {}): {
  pid: number;
  answer: Promise<string>;
  kill(): Promise<void>;
} {
  const { pauseAtRead = 0, atMs = 0 } = options;
  const args = ['--import', './test/support/pause-at-read.mjs', '--input-type=module'];
  const child = spawn(process.execPath, [...args, '-e', CLAIM, folder, `${atMs}`], {
    env: {
      PAUSE_FILE: join(folder, 'run.json'),
      PAUSE_AT: `${pauseAtRead}`,
      PAUSE_FOLDER: pauseFolder,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const answer = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).once('line', resolve);
  });
  const kill = async (): Promise<void> => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return { pid: child.pid ?? 0, answer, kill };
}

function leaveStaleFile(): void {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  writeFileSync(join(folder, 'run.json'), JSON.stringify({ pid, databaseUrl: '' }));
}

// The first read is of who runs there, the second of what is to be replaced, the third of whether it is still that.
it.each([1, 2, 3])(
  'two that find the same stale file: one has the folder, though the other one stood still after read %i',
  async (pauseAtRead) => {
    leaveStaleFile();
    const slow = claimant({ pauseAtRead });
    await until('the slow one to stand still', () =>
      existsSync(join(pauseFolder, `paused-${pauseAtRead}`)),
    );
    const fast = claimant();
    const fastAnswer = await fast.answer;
    writeFileSync(join(pauseFolder, `go-${pauseAtRead}`), '');
    const answers = [fastAnswer, await slow.answer];
    expect(answers.toSorted()).toEqual(['ALREADY_RUNNING', 'taken']);
    const winner = fastAnswer === 'taken' ? fast : slow;
    expect(readRunFile(folder)?.pid).toBe(winner.pid);
  },
);

it('the right to replace a stale file is inherited from a process that was killed with it', async () => {
  leaveStaleFile();
  const killed = claimant({ pauseAtRead: 3 });
  await until('it to stand still', () => existsSync(join(pauseFolder, 'paused-3')));
  // Until it has ended, it still has the right.
  await killed.kill();
  const next = claimant();
  expect(await next.answer).toBe('taken');
  expect(readRunFile(folder)?.pid).toBe(next.pid);
});

it.each(['a stale file', 'no file'])(
  'of eight that start at the same instant over %s one has the folder',
  async (what) => {
    for (let round = 0; round < 3; round++) {
      rmSync(folder, { recursive: true });
      mkdirSync(folder);
      if (what === 'a stale file') leaveStaleFile();
      const atMs = Date.now() + 1_000;
      const all = Array.from({ length: 8 }, () => claimant({ atMs }));
      const answers = await Promise.all(all.map(({ answer }) => answer));
      expect(answers.toSorted()).toEqual([...Array<string>(7).fill('ALREADY_RUNNING'), 'taken']);
      expect(readRunFile(folder)?.pid).toBe(all[answers.indexOf('taken')]?.pid);
      expect(readdirSync(folder)).toEqual(['run.json']);
    }
  },
);
