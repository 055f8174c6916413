import { writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lineChart } from '../test/support/line-chart.ts';
import { tallyFromMarkers } from './contenders/tally-from-markers.ts';
import { tally, tallyExpress } from './contenders/tally.ts';
import { describeMachine } from './machine.ts';
import { largest, processMemory, redisMemory } from './measure.ts';
import type { MeasuredProcess } from './processes.ts';
import { progress, type Report } from './report.ts';
import { runOnce, type RunResult } from './run.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, megabytes, number } from './table.ts';

const SAMPLE_MS = 500;
const DEFAULT_CHART = fileURLToPath(new URL('results/million.svg', import.meta.url));

export interface MillionOptions {
  readonly executions: number;
  readonly tasks: number;
  readonly workers: number;
  readonly from: 'outbox' | 'markers';
  /** Runs it once more with the backlog lane off, to compare. */
  readonly express?: boolean;
  readonly svg?: string;
}

/** Memory at one moment, in bytes. */
interface Sample {
  readonly seconds: number;
  readonly redis: number;
  readonly producer: number | undefined;
  /** Of the worker that has most. */
  readonly worker: number | undefined;
}

/** One large backlog, drained by one producer and some workers, with memory over time. */
export async function millionReport(
  servers: Servers,
  options: MillionOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const { executions, tasks, workers, from } = options;
  const contenders = [
    from === 'outbox' ? tally(workers) : tallyFromMarkers(workers, await servers.anotherRedis()),
    ...(options.express === true ? [tallyExpress(workers)] : []),
  ];
  progress(`loading ${executions} executions`);
  const runs: { title: string; result: RunResult; samples: Sample[] }[] = [];
  for (const contender of contenders) {
    const samples: Sample[] = [];
    const result = await servers.withArena({ executions, tasks }, (arena) =>
      runOnce(contender, arena, (processes) => takeSamples(arena, processes, samples)),
    );
    progress(`${contender.name}: ${number(result.seconds)} s`);
    runs.push({ title: contender.title, result, samples });
  }
  const header = ['Tally', 'executions', 'workers', 'seconds', 'refreshes/s', 'wrong', 'lost'];
  header.push('doubled', 'Redis MB', 'producer MB', 'worker MB');
  const rows = runs.map(({ title, result, samples }) => [
    title.replace('Tally, ', ''),
    number(executions),
    String(workers),
    number(result.seconds),
    number(result.perSecond),
    number(result.verdict?.disagreements),
    number(result.verdict?.lost),
    number(result.verdict?.doubled),
    megabytes(largest(samples.map(({ redis }) => redis))),
    megabytes(result.peakProducerBytes),
    megabytes(result.peakWorkerBytes),
  ]);
  const chart = resolve(options.svg ?? DEFAULT_CHART);
  writeFileSync(chart, drawMemory(options, runs[0]?.samples ?? []));
  const text =
    `${markdownTable(header, rows)}\n\n${number(executions)} executions of ${tasks} tasks, one producer; ` +
    `Redis's memory is the most of samples every ${SAMPLE_MS} ms, a process's the most that it ever had. ` +
    `The chart: ${relative(process.cwd(), chart)}.`;
  return { command, machine, text, data: { options, runs } };
}

function takeSamples(
  arena: Arena,
  processes: readonly MeasuredProcess[],
  samples: Sample[],
): () => void {
  const beginMs = performance.now();
  const memory = (role: string): number | undefined =>
    largest(
      processes
        .filter((process) => process.role === role)
        .map(({ pid }) => processMemory(pid, 'now')),
    );
  const take = async (): Promise<void> => {
    const seconds = (performance.now() - beginMs) / 1000;
    const redis = await redisMemory(arena.redis);
    samples.push({ seconds, redis, producer: memory('producer'), worker: memory('worker') });
  };
  const timer = setInterval(() => void take().catch(() => undefined), SAMPLE_MS);
  return () => clearInterval(timer);
}

function drawMemory({ executions, from }: MillionOptions, samples: readonly Sample[]): string {
  const line = (
    title: string,
    color: string,
    of: 'redis' | 'producer' | 'worker',
  ): Parameters<typeof lineChart>[3][number] => ({
    title,
    color,
    points: samples.map((sample) => [sample.seconds, (sample[of] ?? 0) / 2 ** 20] as const),
  });
  const source = from === 'outbox' ? 'outbox rows' : "Harbor's markers";
  return lineChart(
    `Memory while ${number(executions)} executions are refreshed, from ${source}`,
    'seconds',
    'MB',
    [
      line('Redis', '#c2410c', 'redis'),
      line('producer', '#1d4ed8', 'producer'),
      line('largest worker', '#15803d', 'worker'),
    ],
  );
}
