import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
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
