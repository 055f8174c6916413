#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { TallyError, UsageError } from '../shared/errors.ts';
import { explainDatabaseError } from '../shared/postgres/advice.ts';
import { printableText } from '../shared/printable.ts';
import { scrubSecrets, silentLogger } from '../shared/process/logger.ts';
import { addCaptureCommand } from './commands/capture.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addEnqueueCommand } from './commands/enqueue.ts';
import { addFailedCommand } from './commands/failed.ts';
import { addHarborCommand } from './commands/harbor.ts';
import { addMigrateCommand } from './commands/migrate.ts';
import { addProcessCommands } from './commands/processes.ts';
import { addReconcileCommand } from './commands/reconcile.ts';
import { addRetryCommand } from './commands/retry.ts';
import { addStartCommand } from './commands/start.ts';
import { addStatusCommand } from './commands/status.ts';
import { logLibraryLines } from './library-lines.ts';
import { outliveReaders } from './output.ts';

function version(): string {
  // From dist/cli and from cli/ alike: the first package.json above.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const text = readFileSync(new URL(path, import.meta.url), 'utf8');
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      continue;
    }
  }
  return 'unknown';
}

outliveReaders(process);
logLibraryLines(console, silentLogger());

const program = new Command('tally')
  .description('Keeps the stored status of every execution equal to what its tasks say.')
  .version(version())
  .exitOverride()
  .configureHelp({ showGlobalOptions: true });

addStartCommand(program);
addProcessCommands(program);
addMigrateCommand(program);
addCaptureCommand(program);
addEnqueueCommand(program);
addStatusCommand(program);
addDoctorCommand(program);
addFailedCommand(program);
addRetryCommand(program);
addReconcileCommand(program);
addHarborCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has printed its own line already.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const text =
      error instanceof TallyError || process.env['LOG_LEVEL'] !== 'debug'
        ? explainDatabaseError(error)
        : String(error instanceof Error ? error.stack : error);
    // A usage error repeats no secret, but shows examples that a person may copy.
    const line = error instanceof UsageError ? text : scrubSecrets(text, []);
    process.stderr.write(`tally: ${printableText(line)}\n`);
    // Not exitCode: a Redis client that was given up still holds a timer for seconds.
    process.exit(error instanceof UsageError ? 2 : 1);
  }
}
