import { chmodSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that the user of the Postgres processes can reach, too. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tally-test-'));
  chmodSync(folder, 0o755);
  return folder;
}
