import { Command, CommanderError, Option } from 'commander';
import type { Binaries } from '../cli/embedded/postgres-binaries.ts';
import { describeError, UsageError } from '../shared/errors.ts';
import { captureReport, type CaptureOptions } from './capture-command.ts';
import { contendersReport, type ContendersOptions } from './contenders-command.ts';
import { failedReport, type FailedOptions } from './failed-command.ts';
import { dashboardReport, type DashboardOptions } from './dashboard-command.ts';
import { hostReport, type HostOptions } from './host-command.ts';
import { growthReport, type GrowthOptions } from './growth-command.ts';
import { lagReport, type LagOptions } from './lag-command.ts';
import { millionReport, type MillionOptions } from './million-command.ts';
import { chosenNames } from './contenders/list.ts';
import { tasksEach, wholeNumber, wholeNumbers } from './options.ts';
import { killAll } from './processes.ts';
import { publish, reserveFile, type Report } from './report.ts';
import { Servers } from './servers.ts';
import { smallRun } from './small-command.ts';
import { tracingReport, type TracingOptions } from './tracing-command.ts';
import { binariesOf } from '../test/support/postgres-majors.ts';

interface StartOptions {
  /** Whether Postgres is to keep the time of every commit. */
  readonly commitTimes?: boolean;
  /** Of another Postgres than the one that the project brings. */
  readonly binaries?: Binaries | undefined;
}

const program = new Command('bench')
  .description('Measures Tally beside what one would use instead, on servers of its own.')
  .usage('[command] [options]   (npm run bench -- contenders --help)')
  .exitOverride();

program
  .command('contenders', { isDefault: true })
  .description('refreshes a second and what each costs, side by side')
  .addOption(executions(100_000))
  .addOption(tasks(7))
  .option('--rounds <n>', 'rounds; medians need 3', wholeNumber(1, 99), 3)
  .option('--only <names>', 'some, such as tally,noop or tally-5,harbor-main', chosenNames)
  .option('--no-warm-up', 'no runs before, of a tenth of the size, that do not count')
  .addOption(json())
  .action((options: ContendersOptions & { json?: string }) =>
    report('contenders', options.json, (servers, command) =>
      contendersReport(servers, options, command),
    ),
  );

program
  .command('lag')
  .description('from the commit of a task change to the refreshed execution, beside Harbor')
  .addOption(executions(100_000))
  .option('--rate <n>', 'task changes a second', wholeNumber(1, 20_000), 2_000)
  .option('--seconds <n>', 'how long tasks change', wholeNumber(1, 3_600), 60)
  .option(
    '--backlog <n>',
    'other executions that wait meanwhile',
    wholeNumber(1, 5_000_000),
    200_000,
  )
  .option('--interval <s>', "seconds between two loops of Harbor's", wholeNumber(1, 3_600), 30)
  .addOption(
    new Option('--only <who>', 'one of them').choices(['tally', 'graphile-worker', 'harbor']),
  )
  .addOption(json())
  .action((options: LagOptions & { json?: string }) =>
    report('lag', options.json, (servers, command) => lagReport(servers, options, command), {
      commitTimes: true,
    }),
  );

program
  .command('million')
  .description('a large backlog: time, what is lost, and memory over time, with a chart')
  .addOption(executions(1_000_000))
  .addOption(tasks(3.4))
  .option('--workers <n>', 'worker processes', wholeNumber(1, 64), 5)
  .addOption(
    new Option('--from <what>', 'where the changes are recorded')
      .choices(['outbox', 'markers'])
      .default('outbox'),
  )
  .option('--express', 'once more with the backlog lane off')
  .option('--svg <file>', 'where to draw the chart (default: below bench/results)')
  .addOption(json())
  .action((options: MillionOptions & { json?: string }) =>
    report(`million-${options.from}`, options.json, (servers, command) =>
      millionReport(servers, options, command),
    ),
  );

program
  .command('growth')
  .description('what a refresh costs with more waiting, more tasks, more workers')
  .addOption(executions(100_000))
  .addOption(tasks(3.4))
  .option('--rounds <n>', 'rounds of each step', wholeNumber(1, 99), 3)
  .option(
    '--waiting <list>',
    'executions',
    wholeNumbers(1, 5_000_000),
    [10_000, 100_000, 1_000_000],
  )
  .option('--tasks-each <list>', 'tasks', wholeNumbers(1, 20_000), [1, 10, 100, 10_000])
  .option('--workers <list>', 'worker processes', wholeNumbers(1, 64), [1, 2, 3, 4, 5, 6, 7, 8])
  .option('--max-tasks <n>', 'tasks at most in a step', wholeNumber(1, 100_000_000), 2_000_000)
  .addOption(json())
  .action((options: GrowthOptions & { json?: string }) =>
    report('growth', options.json, (servers, command) => growthReport(servers, options, command)),
  );

program
  .command('capture')
  .description('what the triggers of capture cost an update of task')
  .option('--rounds <n>', 'rounds, off and on by turns', wholeNumber(1, 99), 5)
  .option('--singles <n>', 'updates of one row in a round', wholeNumber(1, 100_000), 5_000)
  .addOption(json())
  .action((options: CaptureOptions & { json?: string }) =>
    report('capture', options.json, (servers, command) => captureReport(servers, options, command)),
  );

program
  .command('host')
  .description("what Harbor's own statements take, capture and refreshes on and off by turns")
  .option('--minutes <n>', 'how long', wholeNumber(1, 600), 5)
  .option('--rate <n>', 'executions a second that begin', wholeNumber(1, 10_000), 20)
  .option('--backlog <n>', 'compare the lanes that drain so many rows', wholeNumber(1, 5_000_000))
  .option(
    '--postgres <major>',
    'another Postgres, as the environment tests install it',
    wholeNumber(13, 18),
  )
  .addOption(json())
  .action(async (options: HostOptions & { postgres?: number; json?: string }) => {
    const binaries =
      options.postgres === undefined ? undefined : await binariesOf(options.postgres);
    await report(
      `host-${options.postgres ?? 'packaged'}`,
      options.json,
      (servers, command) => hostReport(servers, options, command),
      { binaries },
    );
  });

program
  .command('failed')
  .description('what tally failed and tally retry --all take with many failures')
  .option('--failures <n>', 'executions that failed for good', wholeNumber(1, 1_000_000), 100_000)
  .option('--rounds <n>', 'rounds', wholeNumber(1, 99), 3)
  .addOption(json())
  .action((options: FailedOptions & { json?: string }) =>
    report('failed', options.json, (servers, command) => failedReport(servers, options, command)),
  );

program
  .command('dashboard')
  .description('what each page takes with much waiting and failed, and what it costs the stores')
  .addOption(executions(1_000_000))
  .addOption(tasks(2))
  .option('--waiting <n>', 'jobs that wait', wholeNumber(1, 2_000_000), 300_000)
  .option('--failed <n>', 'executions that have failed for good', wholeNumber(1, 500_000), 50_000)
  .option('--rounds <n>', 'requests of each page', wholeNumber(1, 1_000), 20)
  .addOption(json())
  .action((options: DashboardOptions & { json?: string }) =>
    report('dashboard', options.json, (servers, command) =>
      dashboardReport(servers, options, command),
    ),
  );

program
  .command('tracing')
  .description('what OpenTelemetry costs: starts and refreshes, off and on by turns')
  .addOption(executions(100_000))
  .option('--rounds <n>', 'rounds; medians need 3', wholeNumber(1, 99), 3)
  .option('--starts <n>', 'starts of each process', wholeNumber(1, 999), 15)
  .option('--beside <main.js>', 'another build, whose starts are timed as well')
  .addOption(json())
  .action((options: TracingOptions & { json?: string }) =>
    report('tracing', options.json, (servers, command) => tracingReport(servers, options, command)),
  );

program
  .command('small')
  .description('a small run of Tally alone; fails on wrong results, never on time')
  .addOption(executions(10_000))
  .action(async (options: { executions: number }) => {
    process.exitCode = await withServers({}, (servers) => smallRun(servers, options.executions));
  });

/** Without this, an unknown command would count as an argument too many of the default one. */
function refuseUnknownCommand(word: string | undefined): void {
  const names = [...program.commands.map((command) => command.name()), 'help'];
  if (word === undefined || word.startsWith('-') || names.includes(word)) return;
  throw new UsageError(`there is no command ${word}; there are: ${names.join(', ')}`);
}

function executions(fallback: number): Option {
  return new Option('--executions <n>', 'changed executions')
    .argParser(wholeNumber(1, 5_000_000))
    .default(fallback);
}

function tasks(fallback: number): Option {
  return new Option('--tasks <n>', 'tasks of each execution; 3.4 gives three or four')
    .argParser(tasksEach)
    .default(fallback);
}

function json(): Option {
  return new Option('--json <file>', 'where to write the JSON (default: below bench/results)');
}

async function report(
  name: string,
  file: string | undefined,
  make: (servers: Servers, command: string) => Promise<Report>,
  start: StartOptions = {},
): Promise<void> {
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ');
  // Before the hours that it may take.
  const path = reserveFile(name, file);
  publish(path, await withServers(start, (servers) => make(servers, command)));
}

/** Nothing is left behind: not by an error, and not by a Ctrl-C. */
async function withServers<T>(
  { commitTimes, binaries }: StartOptions,
  use: (servers: Servers) => Promise<T>,
): Promise<T> {
  const interrupted = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
    }
  });
  // It may come before anyone waits for it.
  interrupted.catch(() => undefined);
  const servers = await Servers.start(commitTimes, binaries);
  try {
    return await Promise.race([use(servers), interrupted]);
  } finally {
    killAll();
    await servers.stop();
  }
}

try {
  refuseUnknownCommand(process.argv[2]);
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const text = process.env['LOG_LEVEL'] === 'debug' ? String((error as Error).stack) : '';
    process.stderr.write(`bench: ${text || describeError(error)}\n`);
    // Not exitCode: after a Ctrl-C, what was under way still waits for servers that are gone.
    process.exit(error instanceof UsageError ? 2 : 1);
  }
}
