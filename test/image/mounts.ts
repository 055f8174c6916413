import { readFileSync } from 'node:fs';
import { runProgram, type Environment } from './shell.ts';

/**
 * Unmounts whatever is mounted below the folder, so that it can be removed: an engine leaves its network namespace
 * there, Podman its store and the shared memory of pods.
 */
export async function unmountBelow(folder: string, env: Environment): Promise<void> {
  let mounts = '';
  try {
    mounts = readFileSync('/proc/self/mounts', 'utf8');
  } catch {
    // Not Linux: there the containers, and with them the mounts, are in a virtual machine.
    return;
  }
  const points = mounts
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${folder}/`));
  // The last one mounted first: it may lie on an earlier one.
  for (const point of points.toReversed()) await runProgram(['umount', point], { env });
}
