import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import { newFolder } from '../support/new-folder.ts';
import { CODE_MUTANTS } from './code-mutants.ts';
import type { Mutant } from './mutant.ts';
import { SQL_MUTANTS } from './sql-mutants.ts';

const reportSchema = z.object({
  numTotalTests: z.number(),
  success: z.boolean(),
  testResults: z.array(
    z.object({
      message: z.string(),
      assertionResults: z.array(z.object({ status: z.string(), fullName: z.string() })),
    }),
  ),
});

/** What a run of test files showed: the titles of the tests that failed. */
interface Outcome {
  readonly green: boolean;
  readonly failed: readonly string[];
}

const { only } = new Command('test:mutations')
  .description(
    'Breaks a copy of the product in one place at a time, and expects a test to fail each time.',
  )
  .option('--only <text>', 'only mutants whose name contains this')
  .parse()
  .opts<{ only?: string }>();

const project = process.cwd();
const folder = newFolder();
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

copyProject();
const chosen = [...SQL_MUTANTS, ...CODE_MUTANTS].filter(({ name }) => name.includes(only ?? ''));
if (chosen.length === 0) throw new Error(`no mutant's name contains ${only}`);
// Before anything runs for minutes.
for (const mutant of chosen) broken(readFileSync(join(folder, mutant.file), 'utf8'), mutant);
const files = [...new Set(chosen.flatMap(({ tests }) => tests))];
process.stdout.write(`${chosen.length} mutants; first ${files.length} test files unbroken\n`);
const unbroken = run(files);
if (!unbroken.green) {
  process.stdout.write(`They fail without a mutant:\n${unbroken.failed.join('\n')}\n`);
  process.exit(1);
}
const survivors = chosen.filter((mutant) => !isKilled(mutant));
process.stdout.write(
  `${chosen.length - survivors.length} of ${chosen.length} mutants were noticed\n` +
    survivors.map(({ name, breaks }) => `not noticed: ${name} (${breaks})\n`).join(''),
);
process.exitCode = survivors.length === 0 ? 0 : 1;

/** Copies what git knows, as it is in the working tree, and borrows the installed packages. */
function copyProject(): void {
  const listed = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      encoding: 'utf8',
    },
  );
  for (const file of listed.split('\0').filter((name) => name !== '' && existsSync(name))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(project, file), join(folder, file));
  }
  symlinkSync(join(project, 'node_modules'), join(folder, 'node_modules'));
}

function isKilled(mutant: Mutant): boolean {
  const path = join(folder, mutant.file);
  const source = readFileSync(path, 'utf8');
  const beginMs = performance.now();
  writeFileSync(path, broken(source, mutant));
  const { green, failed } = run(mutant.tests);
  writeFileSync(path, source);
  const seconds = ((performance.now() - beginMs) / 1_000).toFixed(0);
  process.stdout.write(
    `${green ? 'NOT NOTICED' : 'noticed'} (${seconds} s): ${mutant.name}${green ? '' : ` – ${failed[0]}`}\n`,
  );
  return !green;
}

/** @throws Error for an edit that fits no place in the file, or several */
function broken(source: string, { name, edits }: Mutant): string {
  return edits.reduce((text, [from, to]) => {
    const parts = text.split(from);
    if (parts.length !== 2) throw new Error(`"${name}": ${parts.length - 1} places fit ${from}`);
    return parts.join(to);
  }, source);
}

function run(tests: readonly string[]): Outcome {
  // Types needn't fit, and what tests start as processes has to be broken, too.
  spawnSync('npm', ['run', '-s', 'build'], { cwd: folder, stdio: 'ignore' });
  const output = join(folder, 'report.json');
  rmSync(output, { force: true });
  const { stderr } = spawnSync(
    'npx',
    [
      'vitest',
      'run',
      '--project',
      'core',
      '--bail',
      '1',
      '--reporter',
      'json',
      '--outputFile',
      output,
      ...tests,
    ],
    { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const report = reportSchema.parse(JSON.parse(readReport(output, stderr)));
  if (report.numTotalTests === 0) throw new Error(`no test ran: ${stderr}`);
  return {
    green: report.success,
    failed: report.testResults.flatMap(({ message, assertionResults }) => [
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map(({ fullName }) => fullName),
      ...(message === '' ? [] : [message]),
    ]),
  };
}

function readReport(file: string, stderr: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    throw new Error(`the tests wrote no report: ${stderr}`);
  }
}
