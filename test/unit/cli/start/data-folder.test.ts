import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { ignoreByGit } from '../../../../cli/start/data-folder.ts';
import { newFolder } from '../../../support/new-folder.ts';

function git(folder: string, ...args: string[]): string {
  return spawnSync('git', args, { cwd: folder, encoding: 'utf8' }).stdout;
}

it('git ignores a data folder of any name, with its passwords, and no other folder', () => {
  const project = newFolder();
  onTestFinished(() => rmSync(project, { recursive: true }));
  git(project, 'init');
  for (const name of ['.tally-2', 'src']) mkdirSync(join(project, name));
  writeFileSync(join(project, 'src', 'main.c'), '');
  for (const name of ['.tally-2', 'src']) {
    ignoreByGit(join(project, name));
    writeFileSync(join(project, name, 'password'), 'secret');
  }
  expect(git(project, 'status', '--porcelain', '--untracked-files=all')).toBe(
    '?? src/main.c\n?? src/password\n',
  );
});

it('a full disk is named, and leaves no empty .gitignore that git would believe', () => {
  const folder = newFolder();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const name = join(folder, `.gitignore.${process.pid}`);
  // Writing to it fails with ENOSPC.
  symlinkSync('/dev/full', name);
  expect(() => ignoreByGit(folder)).toThrow(
    `${folder} can't be used as the data folder (ENOSPC: no space left on device)`,
  );
  expect(readdirSync(folder)).toEqual([]);
});
