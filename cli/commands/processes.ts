import type { Command } from 'commander';
import { ignoredSettings, type StoresConfig } from '../../shared/process/config.ts';
import { Lifecycle, stopOnSignals } from '../../shared/process/lifecycle.ts';
import { createLogger, streamWriter, type Logger } from '../../shared/process/logger.ts';
import type { ChildMessage } from '../start/children.ts';
import { instanceName } from '../instance-name.ts';
import { logLibraryLines } from '../library-lines.ts';
import { commandConfig, dataOption } from '../command-config.ts';

type Run = (config: StoresConfig, lifecycle: Lifecycle, log: Logger) => Promise<void>;

/**
 * Adds `tally worker`, `tally producer` and `tally dashboard`: one process each, until a signal
 * stops it.
 */
export function addProcessCommands(program: Command): void {
  const add = (role: string, description: string, load: () => Promise<Run>): void => {
    program
      .command(role)
      .description(description)
      .addOption(dataOption())
      .action(async (options: { data: string }) =>
        runProcess(role, commandConfig(['DATABASE_URL', 'REDIS_URL'], options.data), await load()),
      );
  };
  // Loaded on demand: together they take longer to load than most commands take to run.
  add('worker', 'run one worker: takes jobs and refreshes executions', async () => {
    const { runWorker } = await import('../../workers/run.ts');
    const worker = { name: instanceName(), onFigures: tellParent };
    return (config, lifecycle, log) => runWorker(config, lifecycle, log, worker);
  });
  add(
    'producer',
    'run one producer: the API, the relay from outbox to queue, and the reconciler',
    async () => {
      const { runProducer } = await import('../../producers/run.ts');
      return runProducer;
    },
  );
  add('dashboard', 'run the dashboard: overview, executions, Bull Board', async () => {
    const { runDashboard } = await import('../../dashboard/run.ts');
    return runDashboard;
  });
}

async function runProcess(role: string, config: StoresConfig, run: Run): Promise<void> {
  const log = createLogger(config, role, await streamWriter(process.stdout));
  logLibraryLines(console, log);
  for (const name of ignoredSettings()) {
    log.info(
      `${name}=tcp://… was made up by the platform for a service of that name and is ignored`,
    );
  }
  const lifecycle = new Lifecycle(log);
  stopOnSignals(lifecycle, process, config.SHUTDOWN_GRACE_MS, log);
  try {
    await run(config, lifecycle, log);
    tellParent('started');
  } catch (error) {
    await lifecycle.stop();
    throw error;
  }
}

/**
 * Sends a message to `tally start`, if this process is its child. A parent that is just exiting no
 * longer listens, which is fine.
 */
function tellParent(message: ChildMessage): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}
