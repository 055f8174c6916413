import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { describeMachine } from '../faults/report.ts';
import { growthTable, memoryChart } from './report.ts';
import { runSoak } from './run.ts';

/** Lines of the timeline that a failure shows. */
const SHOWN = 40;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly every: number;
  readonly rate: number;
  readonly svg?: string;
  readonly json?: string;
}

const options = new Command('test:soak')
  .description('A steady load with a fault every minute; fails when something is lost or grows.')
  .option('--minutes <n>', 'how long', positive, 60)
  .option(
    '--seed <n>',
    'repeats the choices of an earlier run, not its exact timing',
    positive,
    1 + Math.floor(Math.random() * 1e9),
  )
  .option('--every <seconds>', 'from one fault to the next', positive, 60)
  .option('--rate <n>', 'transactions that change tasks, a second', positive, 10)
  .option('--svg <file>', 'where to draw memory over time (default: a temporary folder)')
  .option('--json <file>', 'where to write all samples (default: the same)')
  .parse()
  .opts<Options>();

const { minutes, seed, every, rate } = options;
const folder = join(tmpdir(), `tally-soak-${seed}`);
const beginMs = performance.now();
const timeline: string[] = [];
const say = (line: string): void => {
  const at = ((performance.now() - beginMs) / 60_000).toFixed(1).padStart(5);
  timeline.push(`${at} min  ${line}`);
  print(timeline.at(-1) ?? '');
};
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());
print(`seed ${seed}, ${minutes} minutes, a fault every ${every} s, ${rate} transactions a second`);
const { faults, changes, recoveriesMs, samples, lasting, growths, broken } = await runSoak(
  { seed, minutes, everySeconds: every, rate },
  folder,
  say,
  interrupted.signal,
);
const seconds = recoveriesMs.map((ms) => ms / 1_000).toSorted((a, b) => a - b);
print(
  `${faults.length} faults of ${new Set(faults).size} kinds, ${changes} changes; calm again after ${seconds[Math.floor(seconds.length / 2)]?.toFixed(1) ?? '-'} s (median), ${seconds.at(-1)?.toFixed(1) ?? '-'} s at most`,
);
print(growths.length > 0 ? `\n${growthTable(growths)}\n` : 'too short to tell what grows');
print(describeMachine());
const svg = options.svg ?? `${folder}.svg`;
const json = options.json ?? `${folder}.json`;
writeFileSync(svg, memoryChart(samples, lasting));
writeFileSync(json, JSON.stringify({ options, faults, growths, broken, samples }));
print(`Memory over time: ${svg}. All samples: ${json}`);
if (broken.length > 0) {
  print(`\nThe last of what happened:\n${timeline.slice(-SHOWN).join('\n')}\n`);
  print(`${broken.length} broken:\n${broken.slice(0, 20).join('\n')}\n`);
  print(
    `Again with: npm run test:soak -- --seed ${seed} --minutes ${minutes} --every ${every} --rate ${rate}`,
  );
  process.exitCode = 1;
} else {
  print('nothing lost, nothing wrong, nothing left over, nothing grown');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('must be above 0');
  return value;
}
