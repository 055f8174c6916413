#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { TallyError, UsageError } from '../shared/errors.ts';
import { printableText } from '../shared/process/printable.ts';
import { scrubSecrets, silentLogger } from '../shared/process/logger.ts';
import { readVersion } from '../shared/process/installation.ts';
import { addExamples } from './examples.ts';
import { logLibraryLines } from './library-lines.ts';
import { outliveReaders } from './output.ts';

interface CommandFile {
  readonly names: readonly string[];
  readonly load: () => Promise<(program: Command) => void>;
}

/** The command that needs to know all others. */
const COMPLETE = 'complete';

// In the order of the help. Only one is loaded: all of them take ten times as long as the shortest
// command runs.
const FILES: readonly CommandFile[] = [
  {
    names: ['start'],
    load: async () => (await import('./commands/start.ts')).addStartCommand,
  },
  {
    names: ['worker', 'producer', 'dashboard'],
    load: async () => (await import('./commands/processes.ts')).addProcessCommands,
  },
  {
    names: ['migrate'],
    load: async () => (await import('./commands/migrate.ts')).addMigrateCommand,
  },
  {
    names: ['capture'],
    load: async () => (await import('./commands/capture.ts')).addCaptureCommand,
  },
  {
    names: ['enqueue'],
    load: async () => (await import('./commands/enqueue.ts')).addEnqueueCommand,
  },
  {
    names: ['status'],
    load: async () => (await import('./commands/status.ts')).addStatusCommand,
  },
  {
    names: ['doctor'],
    load: async () => (await import('./commands/doctor.ts')).addDoctorCommand,
  },
  {
    names: ['failed'],
    load: async () => (await import('./commands/failed.ts')).addFailedCommand,
  },
  {
    names: ['retry'],
    load: async () => (await import('./commands/retry.ts')).addRetryCommand,
  },
  {
    names: ['reconcile'],
    load: async () => (await import('./commands/reconcile.ts')).addReconcileCommand,
  },
  {
    names: ['harbor'],
    load: async () => (await import('./commands/harbor.ts')).addHarborCommand,
  },
  {
    names: [COMPLETE],
    load: async () => (await import('./commands/complete.ts')).addCompleteCommand,
  },
];

/**
 * The file of the named command; all files if there is none, for the help and for suggestions, and
 * if the command is about all of them.
 */
function filesFor(args: readonly string[]): readonly CommandFile[] {
  const [first, second] = args.filter((argument) => !argument.startsWith('-'));
  if (first === undefined && args.some((argument) => /^(-V|--version)$/.test(argument))) return [];
  const name = first === 'help' ? second : first;
  const file = FILES.find(({ names }) => names.some((known) => known === name));
  return file === undefined || name === COMPLETE ? FILES : [file];
}

/**
 * The words after `tally`, without the `--` of `npm start -- --once`, which npm takes out. pnpm and
 * npx hand it on, and `start` would take the options behind it for arguments, of which it has none.
 */
function wordsOf([, , ...words]: readonly string[]): string[] {
  return words[0] === 'start' && words[1] === '--' ? ['start', ...words.slice(2)] : words;
}

outliveReaders(process);
logLibraryLines(console, silentLogger());

const words = wordsOf(process.argv);
const program = new Command('tally')
  .description('Keeps the stored status of every execution equal to what its tasks say.')
  .version(readVersion())
  .exitOverride()
  .configureHelp({ showGlobalOptions: true });

try {
  for (const { load } of filesFor(words)) (await load())(program);
  addExamples(program);
  await program.parseAsync(words, { from: 'user' });
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has already printed its message.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { explainDatabaseError } = await import('../shared/postgres/advice.ts');
    const text =
      error instanceof TallyError || process.env['LOG_LEVEL'] !== 'debug'
        ? explainDatabaseError(error)
        : String(error instanceof Error ? error.stack : error);
    // A usage error contains no secret, but examples for people to copy.
    const line = error instanceof UsageError ? text : scrubSecrets(text, []);
    process.stderr.write(`tally: ${printableText(line)}\n`);
    // Not exitCode: a Redis client that was given up still holds a timer for seconds.
    process.exit(error instanceof UsageError ? 2 : 1);
  }
}
