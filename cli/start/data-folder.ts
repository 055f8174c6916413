import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a data folder holds; the set-up's lock lies in `.tally`, too. */
const OURS = /^(postgres|redis|run\.json|setup\.lock.*)$/;

/**
 * Keeps git from ever taking a data folder in, whatever it is called, since passwords are in it. A
 * folder with other things in it is somebody's project, where nothing is written.
 */
export function ignoreByGit(folder: string): void {
  const file = join(folder, '.gitignore');
  if (existsSync(file) || !readdirSync(folder).every((name) => OURS.test(name))) return;
  writeFileSync(file, '# Written by tally start: there are passwords in this folder.\n*\n');
}
