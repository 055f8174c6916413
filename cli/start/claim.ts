import { createHash } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/** Others that come and go meanwhile cost an attempt each. */
const ATTEMPTS = 100;

/** The file is claimed by a process that runs. */
export class ClaimedError extends Error {
  /** The text of its claim. */
  readonly claim: string;

  constructor(file: string, claim: string) {
    super(`${file} is claimed`);
    this.claim = claim;
  }
}

/**
 * Claims a file for this process. The claim appears complete or not at all, because it is a link to
 * a finished file. Of several processes that find the same stale claim one replaces it, in one step,
 * and no process ever removes a claim that holds.
 * @param text the claim, which no other claim ever equals
 * @param holds whether the process of a claim still runs
 * @throws ClaimedError if another process that runs has claimed it
 * @throws an error from `node:fs`
 */
export function claimFile(file: string, text: string, holds: (claim: string) => boolean): void {
  const mine = `${file}.${process.pid}`;
  try {
    writeFileSync(mine, text, { mode: 0o600 });
    claim(file, { file, mine, holds });
  } finally {
    rmSync(mine, { force: true });
  }
}

/**
 * A stale claim belongs to whoever first claims the right to replace it: a file named after the
 * stale text. That right can become stale in the same way, and is replaced in the same way.
 */
function claim(
  place: string,
  parts: { file: string; mine: string; holds: (claim: string) => boolean },
): void {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (linked(parts.mine, place)) return;
    const found = read(place);
    if (found === undefined) continue;
    if (parts.holds(found)) throw new ClaimedError(place, found);
    const right = `${parts.file}.after-${createHash('sha256').update(found).digest('hex').slice(0, 16)}`;
    claim(right, parts);
    // Only the owner of the right replaces the stale text, so what is read here stays.
    if (read(place) === found) {
      renameSync(right, place);
      return;
    }
    rmSync(right);
  }
  throw new Error('others claim it again and again');
}

function linked(mine: string, place: string): boolean {
  try {
    linkSync(mine, place);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function read(place: string): string | undefined {
  try {
    return readFileSync(place, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
