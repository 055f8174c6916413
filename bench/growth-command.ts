import { tally } from './contenders/tally.ts';
import { describeMachine } from './machine.ts';
import { progress, type Report } from './report.ts';
import { runOnce, type RunResult } from './run.ts';
import type { Servers } from './servers.ts';
import type { Size } from './data.ts';
import { markdownTable, megabytes, number, spread, withSpread } from './table.ts';

export interface GrowthOptions {
  readonly executions: number;
  readonly tasks: number;
  readonly rounds: number;
  readonly waiting: readonly number[];
  readonly tasksEach: readonly number[];
  readonly workers: readonly number[];
  readonly maxTasks: number;
}

interface Step extends Size {
  readonly workers: number;
}

interface Measured extends Step {
  readonly rounds: readonly RunResult[];
}

const WORKERS = 2;

/** What a refresh costs when more waits, when executions have more tasks, and with more workers. */
export async function growthReport(
  servers: Servers,
  options: GrowthOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const { executions, tasks, maxTasks } = options;
  const series: [string, Step[]][] = [
    [
      'executions waiting',
      options.waiting.map((waiting) => ({ executions: waiting, tasks, workers: WORKERS })),
    ],
    [
      'tasks of an execution',
      options.tasksEach.map((each) => ({
        // As many executions as before, unless that were more tasks than a disk should hold.
        executions: Math.max(1, Math.min(executions, Math.floor(maxTasks / each))),
        tasks: each,
        workers: WORKERS,
      })),
    ],
    ['worker processes', options.workers.map((workers) => ({ executions, tasks, workers }))],
  ];
  const parts: string[] = [];
  const data: Record<string, Measured[]> = {};
  for (const [title, steps] of series) {
    const measured: Measured[] = [];
    for (const step of steps) {
      const rounds: RunResult[] = [];
      for (let round = 0; round < options.rounds; round++) {
        progress(`${title}: ${describe(step)}`);
        rounds.push(await servers.withArena(step, (arena) => runOnce(tally(step.workers), arena)));
      }
      measured.push({ ...step, rounds });
      // The next step of the last series needs the same data again.
      if (title !== 'worker processes') await servers.forget(step);
    }
    data[title] = measured;
    parts.push(growthTable(title, measured));
  }
  const rounds =
    options.rounds === 1
      ? '1 round'
      : `${options.rounds} rounds, medians, in parentheses the smallest and the largest`;
  const conditions = `From outbox rows, one producer; ${rounds}. Costs are for each refresh.`;
  return { command, machine, text: [...parts, conditions].join('\n\n'), data };
}

function growthTable(title: string, measured: readonly Measured[]): string {
  const header = ['executions', 'tasks', 'workers', 'refreshes/s', 'tasks/s', 'SQL', 'DB CPU µs'];
  header.push('Redis CPU µs', 'own CPU µs', 'worker MB', 'wrong', 'lost', 'doubled');
  const rows = measured.map(({ executions, tasks, workers, rounds }) => {
    const median = (of: (round: RunResult) => number | undefined): number | undefined =>
      spread(rounds.map(of))?.median;
    const worst = (of: 'disagreements' | 'lost' | 'doubled'): string =>
      number(spread(rounds.map(({ verdict }) => verdict?.[of]))?.max);
    const speed = spread(rounds.map(({ perSecond }) => perSecond));
    return [
      number(executions),
      String(tasks),
      String(workers),
      withSpread(speed),
      number(speed === undefined ? undefined : speed.median * tasks),
      number(median(({ each }) => each.statements)),
      number(median(({ each }) => each.databaseCpuUs)),
      number(median(({ each }) => each.redisCpuUs)),
      number(median(({ each }) => each.processCpuUs)),
      megabytes(median(({ peakWorkerBytes }) => peakWorkerBytes)),
      worst('disagreements'),
      worst('lost'),
      worst('doubled'),
    ];
  });
  return `By ${title}:\n\n${markdownTable(header, rows)}`;
}

function describe({ executions, tasks, workers }: Step): string {
  return `${executions} executions of ${tasks} tasks, ${workers} workers`;
}
