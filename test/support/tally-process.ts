import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** A process of Tally's, as built. */
export interface SpawnedTally {
  readonly pid: number;
  /** Lines of standard output and standard error so far. */
  readonly lines: readonly string[];
  kill(signal: NodeJS.Signals): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/**
 * Starts `tally <args>` as a process of its own. Whoever calls sees to it that it ends.
 * @param main its main.js, where another version's is to run
 */
export function spawnTally(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  input?: string,
  main = MAIN,
): SpawnedTally {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.end(input);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => lines.push(line));
  }
  return {
    pid: child.pid ?? 0,
    lines,
    kill: (signal) => void child.kill(signal),
    ended: once(child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    })),
  };
}
