import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { relative } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { startVitest, type Reporter, type TestCase } from 'vitest/node';
import { FAULTS } from './catalogue.ts';
import {
  nameOfTest,
  readMeasured,
  RELIABILITY_PAGE,
  reliabilityPage,
  writeMeasured,
  type MeasuredTest,
} from './report.ts';

const program = new Command('test:faults')
  .description('Injects the faults of the catalogue, one test after another, on real servers.')
  .argument('[faults...]', 'numbers of faults; default: all', readFault, [])
  .option('--report', `write what was measured to ${RELIABILITY_PAGE}`)
  .parse();
const chosen = program.processedArgs[0] as number[];
const { report } = program.opts<{ report?: true }>();

// Beside others, a fault would take longer to recover from. (Each project has a setting of its own, which overrules the
// option of this name.)
process.env['VITEST_MAX_WORKERS'] = '1';
const before = readMeasured().tests;
const measured: Record<string, MeasuredTest> = {};
const collector: Reporter = {
  onTestCaseResult(test: TestCase) {
    const file = relative(process.cwd(), test.module.moduleId);
    const name = nameOfTest(file, test.fullName);
    const { state } = test.result();
    // One that failed early hasn't said what it would inject; the last time it did.
    const faults = test.meta().faults ?? before[name]?.faults;
    if (faults === undefined || (state !== 'passed' && state !== 'failed')) return;
    measured[name] = {
      passed: state === 'passed',
      load: Math.round((loadavg()[0] ?? 0) * 10) / 10,
      faults,
    };
  },
  // Not only at the end: a run that is interrupted keeps what it has.
  async onTestModuleEnd() {
    if (report === true) await writeMeasured(measured);
  },
};
const vitest = await startVitest('test', filesOf(chosen), {
  watch: false,
  reporters: ['default', collector],
});
await vitest.close();
if (report === true) writeFileSync(RELIABILITY_PAGE, await reliabilityPage(readMeasured()));

/** The files with a test that injects any of these faults; of every fault if none is given. */
function filesOf(faults: readonly number[]): string[] {
  const names = readdirSync('test', { recursive: true, encoding: 'utf8' });
  const wanted = faults.length === 0 ? String.raw`\d+` : faults.join('|');
  const injects = new RegExp(String.raw`\binjectFault\(\s*(?:${wanted}),`);
  return names
    .map((name) => `test/${name}`)
    .filter((file) => file.endsWith('.test.ts') && injects.test(readFileSync(file, 'utf8')));
}

function readFault(text: string, before: readonly number[]): number[] {
  if (!(text in FAULTS)) {
    throw new InvalidArgumentError(`The faults are 1 to ${Object.keys(FAULTS).length}.`);
  }
  return [...before, Number(text)];
}
