import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { TallyProcess } from './processes.ts';
import { until } from './wait.ts';

const SAMPLE_MS = 250;
// Long enough for a process that gets a twentieth of a core; one that spins never answers.
const ANSWER_TIMEOUT_MS = 20_000;
// USER_HZ, in which Linux tells the time of processes on every platform that Node runs on.
const TICKS_PER_SECOND = 100;
// A process may notice a change this much later than the test that made it.
const NOTICE_MS = 5_000;

/** What a process was seen to do between two samples. */
export interface Seen {
  readonly seconds: number;
  /** CPU time per second: 0.2 is a fifth of one core. */
  readonly cpuShare: number;
  readonly ready: number;
  readonly notReady: number;
  /** Questions to `/healthz` or `/readyz` that got no answer. */
  readonly unanswered: number;
}

/** Whether a process can do its work, as the test knows it; `unsettled`: either answer is true. */
type Truth = 'able' | 'unable' | 'unsettled';

export interface ProcessWatch {
  /** Waits for `samples` more samples, four a second at most, and tells what they showed. */
  look(samples?: number): Promise<Seen>;
  /**
   * Tells what is true from now on, to be called before a store is broken or put right (`unsettled`) and after it is.
   * A process may take 5 s to notice.
   */
  declare(truth: Truth): void;
  /** Every time that `/readyz` said what was not true, or that `/healthz` didn't answer, as sentences. */
  readonly lies: readonly string[];
  /** The last answer of `/readyz` with its details. */
  readonly lastAnswer: string;
}

/**
 * Samples a process's CPU time, `/healthz` and `/readyz` until the test is over or the process has ended.
 * @param url where it answers, as `healthAddress` finds it
 * @param begins what is true from the first sample on, without any delay
 */
export function watchProcess(
  child: Pick<TallyProcess, 'pid' | 'ended'>,
  url: string,
  begins: Truth = 'unable',
): ProcessWatch {
  const lies: string[] = [];
  const stop = new AbortController();
  let lastAnswer = '';
  let truth = begins;
  let trueSinceMs = -Infinity;
  const totals = { samples: 0, ready: 0, notReady: 0, unanswered: 0 };

  const sample = async (): Promise<void> => {
    const askedMs = performance.now();
    const answers = await Promise.all([
      ask(`${url}/healthz`, stop.signal),
      ask(`${url}/readyz`, stop.signal),
    ]);
    if (stop.signal.aborted) return;
    const [health, readiness] = answers;
    totals.samples++;
    totals.unanswered += answers.filter((answer) => answer === undefined).length;
    if (health?.status !== 200) lies.push(`/healthz said ${health?.text ?? 'nothing'}`);
    if (readiness === undefined) return;
    lastAnswer = readiness.text;
    const ready = readiness.status === 200;
    if (ready) totals.ready++;
    else totals.notReady++;
    // Not an answer to a question from before the change.
    if (askedMs < trueSinceMs || truth === 'unsettled' || ready === (truth === 'able')) return;
    // A busy Postgres may owe an answer for longer than readiness waits: that is no lie.
    if (truth === 'able' && lastAnswer.includes('"postgres":"no answer"')) return;
    lies.push(`/readyz said ${readiness.text} while the process was ${truth} to work`);
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await sample();
      await delay(SAMPLE_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  };
  const running = run();
  const end = async (): Promise<void> => {
    stop.abort();
    await running;
  };
  void child.ended.then(() => stop.abort());
  onTestFinished(end);

  return {
    lies,
    get lastAnswer() {
      return lastAnswer;
    },
    declare: (next) => {
      if (next === truth) return;
      truth = next;
      trueSinceMs = performance.now() + NOTICE_MS;
    },
    look: async (samples = 20) => {
      const before = { ...totals, cpuS: cpuSeconds(child.pid), atMs: performance.now() };
      await until(
        `${samples} more samples of the process`,
        () => stop.signal.aborted || totals.samples >= before.samples + samples,
        120_000,
      );
      if (stop.signal.aborted) throw new Error('the process has ended');
      const seconds = (performance.now() - before.atMs) / 1_000;
      return {
        seconds,
        cpuShare: (cpuSeconds(child.pid) - before.cpuS) / seconds,
        ready: totals.ready - before.ready,
        notReady: totals.notReady - before.notReady,
        unanswered: totals.unanswered - before.unanswered,
      };
    },
  };
}

async function ask(
  url: string,
  stop: AbortSignal,
): Promise<{ status: number; text: string } | undefined> {
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([stop, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
    });
    return { status: response.status, text: await response.text() };
  } catch {
    return undefined;
  }
}

/** CPU time that a process has used so far, in seconds, in its own code and in the kernel's. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program, in parentheses, may hold spaces: fields are counted from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
