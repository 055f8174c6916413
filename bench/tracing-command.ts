import { startCollector } from './collector.ts';
import { contenderTable, measureContenders, ratioTable } from './contenders-command.ts';
import { describeMachine } from './machine.ts';
import { startTally } from './processes.ts';
import { progress, type Report } from './report.ts';
import type { Servers } from './servers.ts';
import { markdownTable, number, ratio, spread, withSpread } from './table.ts';

export interface TracingOptions {
  readonly executions: number;
  readonly rounds: number;
  readonly starts: number;
  readonly beside?: string;
}

/** A process whose start is timed. */
interface Way {
  readonly title: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly main?: string;
  readonly ms: number[];
}

const ROLES = ['worker', 'producer'] as const;

/** What tracing costs: the start of a process and the refreshes of the express lane, off and on by turns. */
export async function tracingReport(
  servers: Servers,
  options: TracingOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const starts = await servers.withArena({ executions: 1, tasks: 1 }, async (arena) => {
    const all: (readonly [string, readonly Way[]])[] = [];
    for (const role of ROLES) {
      const ways: Way[] = [
        { title: 'off', settings: {}, ms: [] },
        { title: 'on', settings: await startCollector(), ms: [] },
      ];
      if (options.beside !== undefined)
        ways.push({ title: 'the other build', settings: {}, main: options.beside, ms: [] });
      // The first round only warms up the file system.
      for (let round = 0; round <= options.starts; round++) {
        progress(`${role}: start ${round} of ${options.starts}`);
        for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
          const beginMs = performance.now();
          const child = await startTally(role, arena, way.settings, way.main);
          if (round > 0) way.ms.push(performance.now() - beginMs);
          await child.stop();
        }
      }
      all.push([role, ways]);
    }
    return all;
  });
  const rows = starts.flatMap(([role, ways]) =>
    ways.map(({ title, ms }) => [
      `tally ${role}, ${title}`,
      withSpread(spread(ms)),
      withSpread(ratio(ms, ways[0]?.ms ?? []), '×'),
    ]),
  );
  const measured = await measureContenders(servers, {
    executions: options.executions,
    tasks: 7,
    rounds: options.rounds,
    only: ['tally-express-2', 'tally-traced-2', 'tally-sampled-2'],
    warmUp: true,
  });
  const text = [
    markdownTable(['start', 'ms until it works', '/ off'], rows),
    contenderTable(measured),
    ratioTable(measured),
    `${options.starts} starts each, by turns; ${number(options.executions)} executions of 7 tasks, ` +
      `${options.rounds} rounds; medians, in parentheses the smallest and the largest.`,
  ].join('\n\n');
  return { command, machine, text, data: { options, starts, measured } };
}
