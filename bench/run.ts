import { setTimeout as delay } from 'node:timers/promises';
import { TallyError } from '../shared/errors.ts';
import type { Contender } from './contenders/contender.ts';
import {
  largest,
  processMemory,
  readUsage,
  redisMemory,
  usageEach,
  type Usage,
} from './measure.ts';
import type { MeasuredProcess } from './processes.ts';
import type { Arena } from './servers.ts';
import { RefreshWatch, verify, type Verdict } from './verify.ts';

const POLL_MS = 20;
const LOOK_LEFT_MS = 200;
// A contender that says for so long that nothing is left won't do more.
const GIVE_UP_MS = 3_000;
const TIMEOUT_MS = 30 * 60_000;

/** What one run of a contender gave. */
export interface RunResult {
  /** From the signal to begin until every execution was refreshed, as far as they ever were. */
  readonly seconds: number;
  /** Executions refreshed (or jobs emptied) a second; a second refresh of one doesn't count. */
  readonly perSecond: number;
  /** For each execution that was recorded, up to the moment when nothing was left to do. */
  readonly each: Usage;
  readonly bytesWaiting: number | undefined;
  /** Of the worker that had most. */
  readonly peakWorkerBytes: number | undefined;
  /** Undefined where there is no producer. */
  readonly peakProducerBytes: number | undefined;
  /** Undefined for a contender that refreshes nothing. */
  readonly verdict: Verdict | undefined;
}

/**
 * Runs one contender once in a fresh arena. The clock starts when all its processes are connected, at the signal to begin.
 * @param watch is given the processes and lives while they do, for samples
 * @throws TallyError when a process ended early or nothing came to an end
 */
export async function runOnce(
  contender: Contender,
  arena: Arena,
  watch?: (processes: readonly MeasuredProcess[]) => () => void,
): Promise<RunResult> {
  const emptyBytes = await redisMemory(arena.redis);
  await contender.prepare(arena);
  const bytesWaiting = contender.waitsInRedis
    ? ((await redisMemory(arena.redis)) - emptyBytes) / arena.executions
    : undefined;
  const processes = await contender.start(arena);
  let stopWatch: (() => void) | undefined;
  try {
    const before = await readUsage(arena, processes);
    stopWatch = watch?.(processes);
    const beginMs = performance.now();
    await contender.go(arena, processes);
    const endMs = await waitForEnd(contender, arena, processes);
    await waitUntilIdle(contender, arena, processes);
    const after = await readUsage(arena, processes);
    const verdict = contender.refreshes ? await verify(arena.database) : undefined;
    const seconds = (endMs - beginMs) / 1000;
    return {
      seconds,
      perSecond: (arena.executions - (verdict?.lost ?? 0)) / seconds,
      each: usageEach(before, after, arena.executions),
      bytesWaiting,
      peakWorkerBytes: peakOf(processes.filter(({ role }) => role !== 'producer')),
      peakProducerBytes: peakOf(processes.filter(({ role }) => role === 'producer')),
      verdict,
    };
  } finally {
    stopWatch?.();
    await Promise.all(processes.map((process) => process.stop()));
  }
}

function peakOf(processes: readonly MeasuredProcess[]): number | undefined {
  return largest(processes.map(({ pid }) => processMemory(pid, 'peak')));
}

/** @returns when the last execution was refreshed, or when the contender had done all that it would do */
async function waitForEnd(
  contender: Contender,
  arena: Arena,
  processes: readonly MeasuredProcess[],
): Promise<number> {
  const watch = new RefreshWatch(arena.database);
  const beginMs = performance.now();
  const lookLeftMs = contender.refreshes ? LOOK_LEFT_MS : 0;
  let nextLookMs = beginMs + lookLeftMs;
  let idleSinceMs: number | undefined;
  for (;;) {
    for (const process of processes) process.mustRun();
    if (contender.refreshes && !(await watch.someLeft())) return performance.now();
    const nowMs = performance.now();
    if (nowMs >= nextLookMs) {
      nextLookMs = nowMs + lookLeftMs;
      if ((await contender.left(arena, processes)) > 0) idleSinceMs = undefined;
      else idleSinceMs ??= performance.now();
      if (idleSinceMs !== undefined && !contender.refreshes) return idleSinceMs;
      if (idleSinceMs !== undefined && nowMs - idleSinceMs > GIVE_UP_MS) return idleSinceMs;
    }
    if (nowMs - beginMs > TIMEOUT_MS) throw tooLong(contender);
    await delay(POLL_MS);
  }
}

async function waitUntilIdle(
  contender: Contender,
  arena: Arena,
  processes: readonly MeasuredProcess[],
): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS;
  while ((await contender.left(arena, processes)) > 0) {
    if (performance.now() > endMs) throw tooLong(contender);
    await delay(POLL_MS);
  }
}

function tooLong({ name }: Contender): TallyError {
  const minutes = TIMEOUT_MS / 60_000;
  return new TallyError('BENCH_TIMEOUT', `${name} was not done after ${minutes} minutes`);
}
