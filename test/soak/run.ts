import { setTimeout as delay } from 'node:timers/promises';
import { rmSync } from 'node:fs';
import type { Actor } from '../chaos/actor.ts';
import { calm, leftOver } from '../chaos/calm.ts';
import { FAULTS, putRight, strike } from '../chaos/faults.ts';
import { createPopulation } from '../chaos/ledger.ts';
import { Random } from '../chaos/random.ts';
import { WORKERS, type Setup } from '../chaos/setup.ts';
import { startWorld, type Cast } from '../chaos/world.ts';
import { startWriters, WRITERS } from '../chaos/writers.ts';
import { newFolder } from '../support/new-folder.ts';
import { until } from '../support/wait.ts';
import { Children } from './children.ts';
import { compareQuarters, type Growth } from './growth.ts';
import { seriesOf } from './report.ts';
import { Sampler, type Sample } from './sampler.ts';
import { Visitor } from './visitor.ts';

const AT_WORK = /taking jobs|refreshes are accepted on|dashboard: http/;
/** The workers, both producers and the dashboard. */
const PROCESSES = WORKERS + 3;
/** From one pass of the reconciler to the next. */
const RECONCILED_ROUNDS = 10;
/** Part of a round in which tasks change; the rest is for the calm. */
const LOAD_PART = 2 / 3;

export interface SoakOptions {
  readonly seed: number;
  readonly minutes: number;
  /** From one fault to the next. */
  readonly everySeconds: number;
  /** Transactions of the host a second, while it writes. */
  readonly rate: number;
}

export interface SoakResult {
  /** What struck, in order. */
  readonly faults: readonly string[];
  readonly changes: number;
  readonly recoveriesMs: readonly number[];
  readonly samples: readonly Sample[];
  /** Processes that no fault has ended. */
  readonly lasting: readonly string[];
  /** Empty if the run was too short to tell. */
  readonly growths: readonly Growth[];
  /** What is wrong; empty if everything holds. */
  readonly broken: readonly string[];
}

/**
 * Changes tasks at an even pace with a fault in each round, checks at the calm that ends it what must hold, and at the
 * end that nothing has grown. Ends early at a round that breaks something.
 *
 * It runs `tally start` on two servers that faults reach, without the demonstration, whose changes leave no trace in a
 * ledger, and beside it a second producer.
 *
 * The command itself, its producer and dashboard and the first of its workers are never ended. Whatever leaks shows in
 * them, while a process that is started anew every few minutes always looks small.
 */
export async function runSoak(
  options: SoakOptions,
  logs: string,
  say: (line: string) => void,
  aborted: AbortSignal,
): Promise<SoakResult> {
  const { seed, minutes, everySeconds, rate } = options;
  const setup: Setup = {
    seed,
    minutes,
    attempts: 5,
    reconciler: true,
    persistence: true,
    producers: 2,
  };
  const data = newFolder();
  let children: Children | undefined;
  const world = await startWorld(setup, logs, {
    cast: (make) => {
      const start = make(
        'tally start',
        `start --no-demo --workers ${WORKERS} --data ${data}`.split(' '),
      );
      children = new Children(start);
      return castOf(start, children, make('second producer', ['producer']));
    },
    // The reconciler works as it does everywhere, but too seldom to hide what a round has lost.
    settings: {
      DASHBOARD_PORT: '0',
      RECONCILE_INTERVAL_MS: String(RECONCILED_ROUNDS * everySeconds * 1_000),
    },
  });
  const random = new Random(seed);
  const struck = { ...world, workers: world.workers.slice(1), producers: world.producers.slice(1) };
  const ended = [...struck.workers, ...struck.producers];
  const lasting = world.actors.filter((actor) => !ended.includes(actor));
  const sampler = new Sampler(world);
  const visitor = new Visitor(world);
  const pauseMs = [0, Math.round((2_000 * WRITERS) / rate)] as const;
  const wait = (untilMs: number): Promise<unknown> =>
    delay(Math.max(0, untilMs - performance.now()), undefined, { signal: aborted }).catch(
      () => undefined,
    );
  const faults: string[] = [];
  const recoveriesMs: number[] = [];
  let changes = 0;
  let broken: string[] = [];
  try {
    const population = await createPopulation(world);
    await until(
      'every process to be at work',
      () =>
        world.actors.flatMap(({ lines }) => lines).filter((line) => AT_WORK.test(line)).length >=
        PROCESSES,
    );
    const endMs = performance.now() + minutes * 60_000;
    while (performance.now() < endMs && broken.length === 0 && !aborted.aborted) {
      const beginMs = performance.now();
      const writers = startWriters(world, population, random, pauseMs);
      const fault = random.pick(FAULTS);
      faults.push(fault.name);
      await strike(fault, struck, new Random(random.seed()), population, say);
      await wait(beginMs + everySeconds * LOAD_PART * 1_000);
      await writers.stop();
      changes += writers.changes;
      await putRight(world);
      const calmFromMs = performance.now();
      broken = await calm(world, population, say);
      recoveriesMs.push(performance.now() - calmFromMs);
      broken.push(...(await visitor.lookAtAll()));
      const crashed = children?.endedByThemselves ?? 0;
      if (crashed > 0) broken.push(`${crashed} processes of tally start ended by themselves`);
      say(`${writers.changes} changes; calm after ${Math.round(recoveriesMs.at(-1) ?? 0)} ms`);
      // Not before: Tally must come right beside the connections that its clients have given up.
      for (const proxy of [world.redisProxy, world.postgresProxy]) proxy.bury();
      sampler.calm = true;
      await sampler.take();
      await wait(beginMs + everySeconds * 1_000);
      sampler.calm = false;
    }
    const { samples, seconds } = sampler;
    const names = lasting.map(({ name }) => name);
    const growths = seriesOf(samples, names).flatMap(
      (series) => compareQuarters(series, seconds) ?? [],
    );
    broken.push(...(await leftOver(world)), ...growths.filter(({ grew }) => grew).map(describe));
    if (broken.length > 0) say(`logs of the processes: ${world.saveLogs()}`);
    return { faults, changes, recoveriesMs, samples, lasting: names, growths, broken };
  } finally {
    await Promise.all([sampler.stop(), visitor.stop()]);
    await world.close();
    rmSync(data, { recursive: true });
  }
}

function castOf(start: Actor, children: Children, secondProducer: Actor): Cast {
  return {
    workers: Array.from({ length: WORKERS }, (_none, n) =>
      children.child(`worker ${n + 1}`, 'worker'),
    ),
    producers: [children.child('producer', 'producer'), secondProducer],
    others: [start, children.child('dashboard', 'dashboard')],
  };
}

function describe({ name, before, after, limit }: Growth): string {
  const [from, to, most] = [before, after, limit].map((value) => Math.round(value * 10) / 10);
  return `grew: ${name}, from ${from} to ${to}, where ${most} is allowed`;
}
