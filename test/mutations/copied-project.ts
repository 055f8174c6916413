import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { z } from 'zod';
import type { Mutant } from './mutant.ts';

const reportSchema = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      message: z.string(),
      assertionResults: z.array(
        z.object({
          status: z.string(),
          fullName: z.string(),
          failureMessages: z.array(z.string()).nullish(),
        }),
      ),
    }),
  ),
});

/** What a run of some tests showed. */
export interface Outcome {
  /** Full names of the tests that ran, each after its file: `test/a.test.ts > it works`. */
  readonly ran: readonly string[];
  /** Tests that failed because something wasn't as they expect. */
  readonly failed: readonly { readonly name: string; readonly error: string }[];
  /** What failed otherwise, which proves nothing: a build, a file that doesn't load, a time limit. */
  readonly broken: readonly string[];
}

/** Copies what git knows, as it is in the working tree, and borrows the installed packages. */
export function copyProject(folder: string): void {
  const listed = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    { encoding: 'utf8' },
  );
  for (const file of listed.split('\0').filter((name) => name !== '' && existsSync(name))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(file, join(folder, file));
  }
  symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'));
}

/**
 * Builds the copy, since tests start processes of it, and runs these tests alone.
 * @param signal ends what runs
 */
export async function runTests(
  folder: string,
  tests: readonly Mutant['test'][],
  signal: AbortSignal,
): Promise<Outcome> {
  const build = await run(folder, signal, ['npm', 'run', '-s', 'build']);
  if (build.code !== 0) {
    return { ran: [], failed: [], broken: [`it doesn't build: ${firstLine(build.output)}`] };
  }
  const report = join(folder, 'report.json');
  rmSync(report, { force: true });
  const files = new Set(tests.map(([file]) => file));
  const titles = new Set(tests.map(([, title]) => literal(title)));
  const options = [
    ['--project', 'core', '--bail', '1', '--reporter', 'json', '--outputFile', report],
    ['--testNamePattern', [...titles].join('|')],
  ].flat();
  const vitest = join(folder, 'node_modules', '.bin', 'vitest');
  const { output } = await run(folder, signal, [vitest, 'run', ...options, ...files]);
  if (signal.aborted) return { ran: [], failed: [], broken: ['it was stopped'] };
  if (!existsSync(report)) throw new Error(`the tests wrote no report: ${output}`);
  return readOutcome(folder, report);
}

async function run(
  folder: string,
  signal: AbortSignal,
  [command = '', ...args]: readonly string[],
): Promise<{ readonly code: unknown; readonly output: string }> {
  // In a group of its own, so that everything that it started can be ended.
  const child = spawn(command, args, {
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const end = (): void => {
    // Vitest stops its servers on SIGINT only.
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGINT');
  };
  signal.addEventListener('abort', end);
  const [code] = (await once(child, 'close')) as [unknown];
  signal.removeEventListener('abort', end);
  return { code, output };
}

function readOutcome(folder: string, file: string): Outcome {
  const root = realpathSync(folder);
  const report = reportSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  const results = report.testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ status, fullName, failureMessages }) => ({
      status,
      name: `${relative(root, name)} > ${fullName}`,
      error: firstLine(failureMessages?.[0] ?? ''),
    })),
  );
  const failed = results.filter(({ status }) => status === 'failed');
  const ranOut = failed.filter(({ error }) => /\b(?:Test|Hook) timed out\b/.test(error));
  const messages = report.testResults.map(({ message }) => message).filter((text) => text !== '');
  return {
    ran: results
      .filter(({ status }) => status === 'passed' || status === 'failed')
      .map(({ name }) => name),
    failed: failed.filter((test) => !ranOut.includes(test)),
    broken: [...ranOut.map(({ name, error }) => `${name}: ${error}`), ...messages.map(firstLine)],
  };
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? '';
}

/** A title as a regular expression that only it matches. */
function literal(title: string): string {
  return title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
