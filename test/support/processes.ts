import { onTestFinished } from 'vitest';
import { spawnTally, type SpawnedTally } from './tally-process.ts';
import { until } from './wait.ts';

export interface TallyProcess extends SpawnedTally {
  /** Waits until a line of its output has this text. */
  said(text: string | RegExp, timeoutMs?: number): Promise<string>;
}

/** Starts `tally <args>` as a process of its own, as built. Killed after the test if it still runs, even frozen. */
export function startTally(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  input?: string,
): TallyProcess {
  const child = spawnTally(args, environment, input);
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await child.ended;
  });
  const { lines } = child;
  return {
    ...child,
    said: (text, timeoutMs) =>
      until(
        () => `${args.join(' ')} to say ${String(text)}; it said\n${lines.slice(-20).join('\n')}`,
        () =>
          lines.find((line) => (typeof text === 'string' ? line.includes(text) : text.test(line))),
        timeoutMs,
      ),
  };
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

/** What Postgres does too late for Tally on a busy machine, which is no fault. */
const LATE = /connection timeout|timeout expired|did not finish within/;

/** Lines that tell of an error, unless a busy machine alone may have caused it. */
export function errorsOf(lines: readonly string[]): string[] {
  return lines.filter((line) => /"level":"(error|fatal)"/.test(line) && !LATE.test(line));
}

/** Runs `tally doctor` until it finds no problem; a busy machine alone may be one. @returns what it says then */
export function untilDoctorIsContent(
  environment: Readonly<Record<string, string>>,
): Promise<string> {
  return until('tally doctor to find no problem', async () => {
    const { output } = await runTally(['doctor'], environment);
    return output.includes('PROBLEM') ? undefined : output;
  });
}
