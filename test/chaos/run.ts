import { setTimeout as delay } from 'node:timers/promises';
import { calm, leftOver } from './calm.ts';
import { FAULTS, putRight, strike, type Fault } from './faults.ts';
import { createPopulation } from './ledger.ts';
import { watchOverlap } from './overlap.ts';
import { Random } from './random.ts';
import type { Setup } from './setup.ts';
import { startWorld } from './world.ts';
import { startWriters } from './writers.ts';

export interface Result {
  readonly faults: number;
  /** Those that didn't take their course, because another had struck their server. */
  readonly cutShort: number;
  readonly changes: number;
  /** How long each calm took until nothing waited any more, in milliseconds. */
  readonly recoveriesMs: readonly number[];
  /** What is wrong; empty if everything holds. */
  readonly broken: readonly string[];
}

/**
 * Lets faults strike while tasks change, round after round, and checks after each what must hold. Ends at the first
 * round that breaks something.
 * @param say takes a line for each thing that happens
 */
export async function runChaos(
  setup: Setup,
  logs: string,
  say: (line: string) => void,
  aborted: AbortSignal,
): Promise<Result> {
  const world = await startWorld(setup, logs);
  const random = new Random(setup.seed);
  const result = {
    faults: 0,
    cutShort: 0,
    changes: 0,
    recoveriesMs: [] as number[],
    broken: [] as string[],
  };
  try {
    const population = await createPopulation(world);
    const endMs = performance.now() + setup.minutes * 60_000;
    for (let round = 1; performance.now() < endMs && !aborted.aborted; round++) {
      say(`round ${round}`);
      const writers = startWriters(world, population, random);
      const stopWatching = watchOverlap(world);
      const faults = draw(random);
      const ended = await Promise.all(
        faults.map((fault) => strike(fault, world, new Random(random.seed()), population, say)),
      );
      await delay(1_000);
      await writers.stop();
      await stopWatching();
      result.faults += faults.length;
      result.cutShort += ended.filter((end) => end === 'cut short').length;
      result.changes += writers.changes;
      await putRight(world);
      const beginMs = performance.now();
      result.broken = await calm(world, population, say);
      result.recoveriesMs.push(performance.now() - beginMs);
      if (result.broken.length > 0) break;
      say(`${writers.changes} changes, right again`);
    }
    if (result.broken.length === 0) result.broken = await leftOver(world);
    if (result.broken.length > 0) say(`logs of the processes: ${world.saveLogs()}`);
    return result;
  } finally {
    await world.close();
  }
}

/** One to four faults, no two at the same target. */
function draw(random: Random): Fault[] {
  const drawn = new Map<string, Fault>();
  for (let n = random.whole(1, 4); n > 0; n--) {
    const fault = random.pick(FAULTS);
    drawn.set(fault.target, fault);
  }
  return [...drawn.values()];
}
