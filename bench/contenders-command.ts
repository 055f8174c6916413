import { loadContenders, NAMES, needPackages } from './contenders/list.ts';
import type { Contender } from './contenders/contender.ts';
import { installPackages } from './packages.ts';
import { progress, type Report } from './report.ts';
import { describeMachine } from './machine.ts';
import { runOnce, type RunResult } from './run.ts';
import type { Servers } from './servers.ts';
import { markdownTable, megabytes, number, ratio, spread, withSpread } from './table.ts';

export interface ContendersOptions {
  readonly executions: number;
  readonly tasks: number;
  readonly rounds: number;
  readonly only?: readonly string[];
  readonly warmUp: boolean;
}

/** The results of all rounds of one contender. */
export interface Measured {
  readonly contender: Contender;
  readonly rounds: readonly RunResult[];
}

/** Who is compared with whom: the same data, the same number of worker processes. */
const PAIRS = [
  ['tally-5', 'harbor-main'],
  ['tally-5', 'harbor-released'],
  ['tally-queue-5', 'harbor-main'],
  ['tally-queue-5', 'harbor-released'],
  ['tally-2', 'bullmq'],
  ['tally-2', 'graphile-worker'],
  ['tally-2', 'pg-boss'],
  ['tally-1', 'function-1'],
  ['tally-2', 'function-2'],
  ['tally-5', 'function-5'],
  ['tally-2', 'tally-express-2'],
  ['tally-express-2', 'graphile-worker'],
  ['tally-express-2', 'pg-boss'],
  ['tally-traced-2', 'tally-express-2'],
  ['tally-sampled-2', 'tally-express-2'],
  ['tally-queue-1', 'noop-1'],
  ['tally-queue-2', 'noop-2'],
  ['tally-queue-5', 'noop-5'],
] as const;

/** Measures contenders side by side: every round runs each of them once, in an order that rotates. */
export async function measureContenders(
  servers: Servers,
  options: ContendersOptions,
): Promise<Measured[]> {
  const names = options.only ?? NAMES;
  if (needPackages(names)) installPackages();
  const contenders = await loadContenders(names);
  const size = { executions: options.executions, tasks: options.tasks };
  if (options.warmUp) {
    const less = { ...size, executions: Math.max(1, Math.round(size.executions / 10)) };
    for (const contender of contenders) {
      progress(`warming up: ${contender.name}`);
      await servers.withArena(less, (arena) => runOnce(contender, arena));
    }
    await servers.forget(less);
  }
  const results = new Map<string, RunResult[]>(names.map((name) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    const first = round % contenders.length;
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const result = await servers.withArena(size, (arena) => runOnce(contender, arena));
      results.get(contender.name)?.push(result);
      progress(`round ${round + 1}: ${contender.name} ${number(result.perSecond)}/s`);
    }
  }
  return contenders.map((contender) => ({
    contender,
    rounds: results.get(contender.name) ?? [],
  }));
}

export async function contendersReport(
  servers: Servers,
  options: ContendersOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const measured = await measureContenders(servers, options);
  const text = [contenderTable(measured), ratioTable(measured), conditions(options)]
    .filter((part) => part !== '')
    .join('\n\n');
  const data = measured.map(({ contender: { name, title, workers }, rounds }) => ({
    name,
    title,
    workers,
    rounds,
  }));
  return { command, machine, text, data: { options, contenders: data } };
}

/** Medians of all rounds, one row a contender; what is wrong is the worst of all rounds. */
export function contenderTable(measured: readonly Measured[]): string {
  const header = ['contender', 'workers', 'refreshes/s', 'SQL', 'DB CPU µs', 'Redis commands'];
  header.push('Redis CPU µs', 'bytes waiting', 'own CPU µs', 'worker MB');
  header.push('wrong', 'lost', 'doubled');
  const rows = measured.map(({ contender, rounds }) => {
    const median = (of: (round: RunResult) => number | undefined): number | undefined =>
      spread(rounds.map(of))?.median;
    const worst = (of: 'disagreements' | 'lost' | 'doubled'): string =>
      number(spread(rounds.map(({ verdict }) => verdict?.[of]))?.max);
    return [
      contender.title,
      String(contender.workers),
      withSpread(spread(rounds.map(({ perSecond }) => perSecond))),
      contender.refreshes ? number(median(({ each }) => each.statements)) : '–',
      contender.refreshes ? number(median(({ each }) => each.databaseCpuUs)) : '–',
      number(median(({ each }) => each.redisCommands)),
      number(median(({ each }) => each.redisCpuUs)),
      number(median(({ bytesWaiting }) => bytesWaiting)),
      number(median(({ each }) => each.processCpuUs)),
      megabytes(median(({ peakWorkerBytes }) => peakWorkerBytes)),
      worst('disagreements'),
      worst('lost'),
      worst('doubled'),
    ];
  });
  return markdownTable(header, rows);
}

export function ratioTable(measured: readonly Measured[]): string {
  const speeds = (name: string): number[] | undefined =>
    measured
      .find(({ contender }) => contender.name === name)
      ?.rounds.map(({ perSecond }) => perSecond);
  const rows = PAIRS.flatMap(([name, other]) => {
    const [ours, theirs] = [speeds(name), speeds(other)];
    if (ours === undefined || theirs === undefined) return [];
    return [[`${name} / ${other}`, withSpread(ratio(ours, theirs), '×')]];
  });
  return rows.length === 0 ? '' : markdownTable(['compared, round by round', 'ratio'], rows);
}

function conditions({ executions, tasks, rounds }: ContendersOptions): string {
  return (
    `${number(executions)} executions of ${tasks} tasks, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; ` +
    'medians, in parentheses the smallest and the largest. Costs are for each execution.'
  );
}
