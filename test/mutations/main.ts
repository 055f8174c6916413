import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { newFolder } from '../support/new-folder.ts';
import { copyProject, runTests, type Outcome } from './copied-project.ts';
import { FAILURE_MUTANTS } from './failure-mutants.ts';
import { HARBOR_MUTANTS } from './harbor-mutants.ts';
import { mutate, type Mutant } from './mutant.ts';
import { PRODUCER_MUTANTS } from './producer-mutants.ts';
import { SQL_MUTANTS } from './sql-mutants.ts';
import { WORKER_MUTANTS } from './worker-mutants.ts';

const MUTANTS: readonly Mutant[] = [
  ...SQL_MUTANTS,
  ...PRODUCER_MUTANTS,
  ...WORKER_MUTANTS,
  ...FAILURE_MUTANTS,
  ...HARBOR_MUTANTS,
];

const { only, from, list } = new Command('test:mutations')
  .description(
    'Breaks a copy of the product in one place at a time. Each time, the test that should notice has to fail, and not because the copy no longer builds or the time is up.',
  )
  .option('--only <text>', 'only mutants whose name contains this')
  .option('--from <text>', 'only the first one whose name contains this, and those after it')
  .option('--list', 'print the names and end')
  .parse()
  .opts<{ only?: string; from?: string; list?: true }>();

const first = MUTANTS.findIndex(({ name }) => name.includes(from ?? ''));
const chosen = MUTANTS.filter(({ name }, at) => at >= first && name.includes(only ?? ''));
if (first < 0 || chosen.length === 0) throw new Error("no mutant's name contains that");
if (list === true) {
  process.stdout.write(chosen.map(({ name, breaks }) => `${name} (${breaks})\n`).join(''));
  process.exit();
}
const folder = newFolder();
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());

copyProject(folder);
// Before anything runs for minutes.
for (const mutant of chosen) mutate(readFileSync(join(folder, mutant.file), 'utf8'), mutant);
process.stdout.write(`${chosen.length} mutants; first their tests, unbroken\n`);
const tests = chosen.map(({ test }) => test);
refuseUnlessGreen(await runTests(folder, tests, stop.signal));
const survivors: Mutant[] = [];
for (const mutant of chosen) {
  if (!(await isKilled(mutant))) survivors.push(mutant);
}
process.stdout.write(
  `${chosen.length - survivors.length} of ${chosen.length} mutants were noticed\n` +
    survivors.map(({ name, breaks }) => `not noticed: ${name} (${breaks})\n`).join(''),
);
process.exitCode = survivors.length === 0 ? 0 : 1;

/** Ends the process if a test fails without a mutant, or doesn't exist. */
function refuseUnlessGreen({ ran, failed, broken }: Outcome): void {
  if (stop.signal.aborted) process.exit(1);
  const problems = [...failed.map(({ name, error }) => `${name}: ${error}`), ...broken];
  const missing = chosen
    .filter(({ test: [file, title] }) => !ran.some((test) => isOf(test, file, title)))
    .map(({ name, test: [file, title] }) => `"${name}": no test ${title} in ${file}`);
  if (problems.length + missing.length === 0) return;
  process.stdout.write(
    `Without a mutant:\n${(problems.length > 0 ? problems : missing).join('\n')}\n`,
  );
  process.exit(1);
}

function isOf(test: string, file: string, title: string): boolean {
  return test.startsWith(`${file} > `) && test.includes(title);
}

async function isKilled(mutant: Mutant): Promise<boolean> {
  const path = join(folder, mutant.file);
  const source = readFileSync(path, 'utf8');
  const beginMs = performance.now();
  writeFileSync(path, mutate(source, mutant));
  const { failed, broken } = await runTests(folder, [mutant.test], stop.signal);
  if (stop.signal.aborted) process.exit(1);
  writeFileSync(path, source);
  const seconds = ((performance.now() - beginMs) / 1_000).toFixed(0);
  const [noticed] = failed;
  const what = noticed === undefined ? 'NOT NOTICED' : 'noticed';
  const how = noticed === undefined ? broken[0] : `${noticed.name}: ${noticed.error}`;
  process.stdout.write(
    `${what} (${seconds} s): ${mutant.name}\n    ${how ?? 'its test is green'}\n`,
  );
  return noticed !== undefined;
}
