import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeFolder } from './kept-files.ts';
import { type SystemUser, run } from './programs.ts';

/**
 * The user nobody, for a server that refuses to run as root.
 * @throws Error if there is none, or if we can't become it, as in some containers
 */
export async function nobody(): Promise<SystemUser> {
  try {
    const [uid, gid] = await Promise.all([
      run('id', ['-u', 'nobody']),
      run('id', ['-g', 'nobody']),
    ]);
    const identity = { uid: Number(uid), gid: Number(gid) };
    await run('test', ['-d', '/'], { as: identity });
    return identity;
  } catch (error) {
    throw new Error('root has to become nobody for it and may not: run as another user', {
      cause: error,
    });
  }
}

/**
 * Whether a user can own and use files in our folder, which is made accessible for that. It is
 * tried rather than computed from mode bits, because parent folders, mounts and user namespaces
 * matter as well.
 */
export async function canOwnBelow(folder: string, as: SystemUser): Promise<boolean> {
  let probe: string | undefined;
  try {
    chmodSync(folder, 0o755);
    probe = mkdtempSync(join(folder, 'probe-'));
    chownSync(probe, as.uid, as.gid);
    await run('test', ['-w', probe], { as });
    return true;
  } catch {
    return false;
  } finally {
    if (probe !== undefined) rmSync(probe, { recursive: true });
  }
}

/**
 * Copies a folder so that every user can read it and run what is in its `bin`: completely or not at
 * all.
 */
export async function copyForAnyUser(from: string, to: string): Promise<void> {
  makeFolder(dirname(to));
  chmodSync(dirname(to), 0o755);
  const partial = mkdtempSync(`${to}-`);
  await cp(from, partial, { recursive: true, verbatimSymlinks: true });
  chmodSync(partial, 0o755);
  for (const entry of readdirSync(partial, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const runs = entry.isDirectory() || entry.parentPath === join(partial, 'bin');
    chmodSync(join(entry.parentPath, entry.name), runs ? 0o755 : 0o644);
  }
  try {
    renameSync(partial, to);
  } catch (error) {
    rmSync(partial, { recursive: true });
    // Another process may have been faster; its copy is just as good.
    if (!existsSync(to)) throw error;
  }
}
