import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { FAULTS, putRight, type Fault } from './faults.ts';
import { brokenExecutions, createPopulation, type Population } from './ledger.ts';
import { Random } from './random.ts';
import type { Setup } from './setup.ts';
import { startWorld, type World } from './world.ts';
import { changeAll, startWriters } from './writers.ts';

/** What a process of Tally's may grow to, in megabytes. */
const MEMORY_MB = 400;
const QUIET_TIMEOUT_MS = 180_000;

export interface Result {
  readonly faults: number;
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
  const result = { faults: 0, changes: 0, recoveriesMs: [] as number[], broken: [] as string[] };
  try {
    const population = await createPopulation(world);
    const endMs = performance.now() + setup.minutes * 60_000;
    for (let round = 1; performance.now() < endMs && !aborted.aborted; round++) {
      say(`round ${round}`);
      const writers = startWriters(world, population, random);
      const faults = draw(random);
      await Promise.all(
        faults.map((fault) => strike(fault, world, new Random(random.seed()), population, say)),
      );
      await delay(1_000);
      await writers.stop();
      result.faults += faults.length;
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

async function strike(
  fault: Fault,
  world: World,
  random: Random,
  population: Population,
  say: (line: string) => void,
): Promise<void> {
  await delay(random.whole(0, 3_000));
  const ms = random.whole(500, 8_000);
  say(`${fault.name}, ${ms} ms`);
  try {
    await fault.strike(world, random, ms, population);
  } catch (error) {
    // Its server was struck by another fault meanwhile.
    say(`${fault.name} was cut short: ${String(error)}`);
  }
}

/** Waits until nothing waits, retrying what failed as a person does, and checks; then once more after a last change. */
async function calm(
  world: World,
  population: Population,
  say: (line: string) => void,
): Promise<string[]> {
  for (const strict of [false, true]) {
    if (strict) await changeAll(world, population);
    const waits = await settle(world, say);
    const broken = [...world.problems, ...(await brokenExecutions(world, strict))];
    if (waits !== undefined) broken.push(`still waiting after ${QUIET_TIMEOUT_MS} ms: ${waits}`);
    if (broken.length > 0) return broken;
  }
  return [...world.workers, ...world.producers].flatMap(({ name, pid }) => {
    const megabytes = pid === undefined ? 0 : residentMegabytes(pid);
    return megabytes > MEMORY_MB ? [`${name} takes ${megabytes} MB of memory`] : [];
  });
}

/** @returns what still waits at the deadline */
async function settle(world: World, say: (line: string) => void): Promise<string | undefined> {
  const endMs = performance.now() + QUIET_TIMEOUT_MS;
  for (;;) {
    const waiting = await whatWaits(world);
    if (waiting === '') return undefined;
    if (performance.now() > endMs) return waiting;
    if (/^\d+ failures/.test(waiting)) {
      const { output } = await world.tally(['retry', '--all']);
      say(output.split('\n').at(-1) ?? '');
    }
    await delay(200);
  }
}

async function whatWaits(world: World): Promise<string> {
  const [row] = await world.sql(
    `SELECT (SELECT count(*) FROM tally.outbox)::int AS outbox,
            (SELECT count(*) FROM tally.failure WHERE NOT refreshed AND NOT superseded)::int AS failures`,
  );
  const count = async (command: string, list: string, queue = 'refresh'): Promise<number> =>
    Number(await world.ask(command, `chaos:${queue}:${list}`));
  const jobs = {
    outbox: Number(row?.['outbox']),
    waiting: (await count('LLEN', 'wait')) + (await count('ZCARD', 'prioritized')),
    active: await count('LLEN', 'active'),
    delayed: await count('ZCARD', 'delayed'),
    failed: await count('ZCARD', 'failed'),
    'of the backlog':
      (await count('LLEN', 'wait', 'backlog')) + (await count('LLEN', 'active', 'backlog')),
  };
  const failures = Number(row?.['failures']);
  const waiting = Object.entries(jobs)
    .filter(([, number]) => number > 0)
    .map(([list, number]) => `${number} ${list}`);
  return [...(failures > 0 ? [`${failures} failures`] : []), ...waiting].join(', ');
}

/** Keys of jobs that are on no list, when nothing waits: of either queue, but for those jobs of the backlog that are kept. */
async function leftOver(world: World): Promise<string[]> {
  const leaked =
    /^chaos:(refresh|backlog):(\d+:[^:]+:[^:]+(:.*)?|(backlog-\d+-[^:]+)(:.*)?|de:.*|dn:.*)$/;
  const kept = new Set<string>();
  for (const list of ['completed', 'failed']) {
    const ids = await world.ask('ZRANGE', `chaos:backlog:${list}`, '0', '-1');
    for (const id of ids as string[]) kept.add(id);
  }
  const keys = (await world.ask('KEYS', 'chaos:*')) as string[];
  const found = keys.filter((key) => {
    const match = leaked.exec(key);
    return match !== null && !kept.has(match[4] ?? '');
  });
  return found.length === 0
    ? []
    : [`${found.length} keys left in Redis, such as ${found.slice(0, 5).join(', ')}`];
}

function residentMegabytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024);
  } catch {
    return 0;
  }
}
