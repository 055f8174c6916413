import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, TallyError } from '../../shared/errors.ts';
import { writeDurably } from '../embedded/kept-files.ts';

/** What a data folder contains; the set-up's lock is in `.tally` as well. */
const OURS = /^(postgres|redis|(run\.json|setup\.lock|\.gitignore\.).*)$/;

/**
 * Keeps git from ever tracking a data folder, whatever its name, because it contains passwords. A
 * folder with other files in it is somebody's project, where nothing is written.
 * @throws TallyError BAD_DATA_FOLDER if it can't be written
 */
export function ignoreByGit(folder: string): void {
  const file = join(folder, '.gitignore');
  try {
    if (existsSync(file) || !readdirSync(folder).every((name) => OURS.test(name))) return;
    writeDurably(file, '# Written by tally start: there are passwords in this folder.\n*\n');
  } catch (error) {
    throw badDataFolder(folder, error);
  }
}

/** What to tell whoever gave a data folder that can't be used. @param error from `node:fs` */
export function badDataFolder(folder: string, error: unknown): TallyError {
  // Node adds the call and its paths, of temporary files too.
  const reason = describeError(error).replace(/^(E[A-Z]+: [^,]+), .*$/, '$1');
  return new TallyError(
    'BAD_DATA_FOLDER',
    `${folder} can't be used as the data folder (${reason}); give one with free space that this user may create and write: npm start -- --data <dir>`,
    { cause: error },
  );
}
