import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { newFolder } from '../../support/new-folder.ts';
import { runTally } from '../../support/processes.ts';

/** Packages of which a process has loaded something, as V8 reports it at the end. */
async function loadedPackages(args: readonly string[]): Promise<Set<string>> {
  const folder = newFolder();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await runTally(args, { NODE_V8_COVERAGE: folder });
  const reports = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  return new Set(
    reports.flatMap((text) =>
      [...text.matchAll(/\/node_modules\/((?:@[^/"]+\/)?[^/"]+)\//g)].map(([, name]) => name ?? ''),
    ),
  );
}

it.each([
  [['--version'], ['pg', 'zod', 'ioredis', 'bullmq', 'express', 'pino-pretty']],
  [
    ['worker', '--help'],
    ['pg', 'ioredis', 'bullmq', 'express', 'pino-pretty'],
  ],
  [
    ['migrate', '--help'],
    ['ioredis', 'bullmq', 'express', 'prom-client', 'pino-pretty'],
  ],
  [
    ['status', '--help'],
    ['express', 'prom-client', 'pino-pretty', '@bull-board/api'],
  ],
])('tally %j loads only the modules that it needs', async (args, useless) => {
  const loaded = await loadedPackages(args);
  expect(loaded).toContain('commander');
  expect(useless.filter((name) => loaded.has(name))).toEqual([]);
});

it('the help lists every command with its arguments', async () => {
  const { output } = await runTally(['--help'], {});
  for (const line of ['start [options]', 'worker [options]', 'enqueue [options] <identity...>']) {
    expect(output).toContain(line);
  }
});

it('`tally help status` says what `tally status --help` says', async () => {
  const help = await runTally(['help', 'status'], {});
  expect(help.output).toContain('--json');
  expect(help).toEqual(await runTally(['status', '--help'], {}));
});

it('a misspelt command is refused with the name of the right one', async () => {
  const { code, output } = await runTally(['stauts', 'retry'], {});
  expect(code).toBe(2);
  expect(output).toContain('Did you mean status?');
});

it("an option's value that is the name of a command isn't taken for a command", async () => {
  const { code, output } = await runTally(['retry', '--error', 'status', '--nonsense'], {});
  expect(code).toBe(2);
  expect(output).toContain("unknown option '--nonsense'");
});

it.each([[[]], [['--']]])('tally start takes its options after %j', async (dashes) => {
  const { code, output } = await runTally(['start', ...dashes, '--workers', 'many'], {});
  expect(code).toBe(2);
  expect(output).toContain('It must be a whole number from 1 to 64.');
});
