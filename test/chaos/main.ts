import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { Random } from './random.ts';
import { runChaos } from './run.ts';
import { describeSetup, drawSetup, type Setup } from './setup.ts';

/** Lines of the timeline that a failure shows. */
const SHOWN = 40;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly attempts?: number;
  readonly reconciler?: 'on' | 'off';
  readonly persistence?: 'on' | 'off';
  readonly producers?: number;
}

const { minutes, seed, attempts, producers, ...switches } = new Command('test:chaos')
  .description(
    'Random faults under load, on servers of its own, until the time is up or something breaks.',
  )
  .option('--minutes <n>', 'how long', positive, 5)
  .option(
    '--seed <n>',
    'repeats the choices of an earlier run, not its exact timing',
    positive,
    1 + Math.floor(Math.random() * 1e9),
  )
  .option('--attempts <n>', 'JOB_ATTEMPTS; drawn if not given', positive)
  .option('--producers <n>', 'how many; drawn if not given', positive)
  .addOption(new Option('--reconciler <state>', 'drawn if not given').choices(['on', 'off']))
  .addOption(
    new Option('--persistence <state>', "Redis's; drawn if not given").choices(['on', 'off']),
  )
  .parse()
  .opts<Options>();

const setup: Setup = drawSetup(new Random(seed), {
  seed,
  minutes,
  ...(attempts === undefined ? {} : { attempts }),
  ...(producers === undefined ? {} : { producers }),
  ...(switches.reconciler === undefined ? {} : { reconciler: switches.reconciler === 'on' }),
  ...(switches.persistence === undefined ? {} : { persistence: switches.persistence === 'on' }),
});

const beginMs = performance.now();
const timeline: string[] = [];
const say = (line: string): void => {
  timeline.push(`${((performance.now() - beginMs) / 1_000).toFixed(1).padStart(7)} s  ${line}`);
};
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());
process.stdout.write(`${describeSetup(setup)}\n`);
const { faults, cutShort, changes, recoveriesMs, broken } = await runChaos(
  setup,
  join(tmpdir(), `tally-chaos-${seed}`),
  say,
  interrupted.signal,
);
const seconds = recoveriesMs.map((ms) => ms / 1_000).toSorted((a, b) => a - b);
process.stdout.write(
  `${recoveriesMs.length} rounds, ${faults} faults, of which others cut ${cutShort} short, ${changes} changes; calm again after ${seconds[Math.floor(seconds.length / 2)]?.toFixed(1) ?? '-'} s (median), ${seconds.at(-1)?.toFixed(1) ?? '-'} s at most\n`,
);
if (broken.length > 0) {
  process.stdout.write(`\nThe last of what happened:\n${timeline.slice(-SHOWN).join('\n')}\n\n`);
  process.stdout.write(`${broken.length} broken:\n${broken.slice(0, 20).join('\n')}\n`);
  process.stdout.write(
    `\nAgain with: npm run test:chaos -- ${[...process.argv.slice(2), '--seed', seed].join(' ')}\n`,
  );
  process.exitCode = 1;
} else {
  process.stdout.write('nothing lost, nothing wrong, nothing left over\n');
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('must be above 0');
  return value;
}
