import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';
import { until } from './wait.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface TallyProcess {
  readonly pid: number;
  /** Lines of standard output and standard error so far. */
  readonly lines: readonly string[];
  kill(signal: NodeJS.Signals): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Waits until a line of its output has this text. */
  said(text: string | RegExp, timeoutMs?: number): Promise<string>;
}

const running = new Set<TallyProcess>();

// Nothing is left behind, whatever a test did; a frozen process ends at SIGKILL, too.
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all([...running].map(({ ended }) => ended));
});

/** Starts `tally <args>` as a process of its own, as built. Killed after the test if it still runs. */
export function startTally(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  input?: string,
): TallyProcess {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.end(input);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => lines.push(line));
  }
  const tally: TallyProcess = {
    pid: child.pid ?? 0,
    lines,
    kill: (signal) => void child.kill(signal),
    ended: once(child, 'close').then(([code, signal]) => {
      running.delete(tally);
      return { code: code as number | null, signal: signal as NodeJS.Signals | null };
    }),
    said: (text, timeoutMs) =>
      until(
        () => `${args.join(' ')} to say ${String(text)}; it said\n${lines.slice(-20).join('\n')}`,
        () =>
          lines.find((line) => (typeof text === 'string' ? line.includes(text) : text.test(line))),
        timeoutMs,
      ),
  };
  running.add(tally);
  return tally;
}

/** Runs `tally <args>` to its end. */
export async function runTally(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  input?: string,
): Promise<{ code: number | null; output: string }> {
  const child = startTally(args, environment, input);
  const { code } = await child.ended;
  return { code, output: child.lines.join('\n') };
}

/** Starts a worker and waits until it takes jobs. */
export async function startWorker(
  environment: Readonly<Record<string, string>>,
): Promise<TallyProcess> {
  const worker = startTally(['worker'], environment);
  await worker.said('taking jobs');
  return worker;
}

/** Starts a producer and waits until it listens. @returns also the address of its API */
export async function startProducer(
  environment: Readonly<Record<string, string>>,
): Promise<TallyProcess & { readonly url: string }> {
  const producer = startTally(['producer'], environment);
  const line = await producer.said(/refreshes are accepted on|health and metrics on/);
  return Object.assign(producer, { url: /http:\S+?:\d+/.exec(line)?.[0] ?? '' });
}
