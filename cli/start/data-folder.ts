import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a data folder contains; the set-up's lock is in `.tally` as well. */
const OURS = /^(postgres|redis|(run\.json|setup\.lock).*)$/;

/**
 * Keeps git from ever tracking a data folder, whatever its name, because it contains passwords. A
 * folder with other files in it is somebody's project, where nothing is written.
 */
export function ignoreByGit(folder: string): void {
  const file = join(folder, '.gitignore');
  if (existsSync(file) || !readdirSync(folder).every((name) => OURS.test(name))) return;
  writeFileSync(file, '# Written by tally start: there are passwords in this folder.\n*\n');
}
