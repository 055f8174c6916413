import { resolve } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { loadConfig, type Config, type StoresConfig } from '../../shared/process/config.ts';
import { httpAddress } from '../../shared/http/address.ts';
import { readCaptureState } from '../../shared/postgres/capture.ts';
import { openDatabase, withClient, type Database } from '../../shared/postgres/database.ts';
import { TallyError } from '../../shared/errors.ts';
import { Lifecycle } from '../../shared/process/lifecycle.ts';
import { createLogger, type Logger } from '../../shared/process/logger.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import { waitForRedis } from '../../shared/queue/wait-for-redis.ts';
import { openRefreshQueue, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { migrate } from '../../shared/postgres/migrate.ts';
import { Children } from '../start/children.ts';
import { startSimulatedJobService } from '../start/demonstration/job-service.ts';
import { measureDrain } from '../start/demonstration/once.ts';
import { seedDemonstration } from '../start/demonstration/seed.ts';
import { refuseUnprotected } from '../../dashboard/protection.ts';
import { openStores, type Stores } from '../start/open-stores.ts';
import { RecentRefreshes } from '../start/progress.ts';
import { dropRunFile, writeRunFile } from '../start/run-file.ts';
import { logLibraryLines } from '../library-lines.ts';
import { Screen } from '../start/screen.ts';
import { stopOnce } from '../start/stop-once.ts';

// Leaves time to kill what hangs within the 10 s in which everything must be gone.
const CHILD_GRACE_MS = 6_000;
const REDIS_TIMEOUT_MS = 5_000;

interface StartOptions {
  readonly data: string;
  readonly workers: number;
  readonly executions: number;
  readonly rate: number;
  readonly demo: boolean;
  readonly once?: true;
}

/** Adds `tally start`, which runs everything on this machine. */
export function addStartCommand(program: Command): void {
  program
    .command('start')
    .description(
      'run everything on this machine: a server for each URL that is not set, producer, workers, dashboard',
    )
    .option('--data <dir>', 'where the embedded servers keep their data', '.tally')
    .option('--workers <n>', 'worker processes', wholeNumber(1, 64), 2)
    .option(
      '--executions <n>',
      'executions of the demonstration',
      wholeNumber(1, 5_000_000),
      20_000,
    )
    .option('--rate <n>', 'simulated task changes per second', wholeNumber(0, 5_000), 200)
    .option('--no-demo', 'leave out the demonstration on an embedded database')
    .option('--once', 'load the demonstration, drain it, print a summary and exit')
    .action((options: StartOptions) => start(options));
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

async function start(options: StartOptions): Promise<void> {
  const config = loadConfig();
  if (options.once && (config.DATABASE_URL !== undefined || !options.demo)) {
    throw new TallyError(
      'NO_DEMONSTRATION',
      'the demonstration runs on an embedded database only; for --once unset DATABASE_URL and leave out --no-demo',
    );
  }
  refuseUnprotected(config);
  const screen = new Screen(process.stdout, process.env['TERM']);
  const log = createLogger(config, 'start', (line) => screen.log(line.trimEnd()));
  logLibraryLines(console, log);
  const lifecycle = new Lifecycle(log);
  const stopped = stopOnce(lifecycle, process, (line) => screen.say(line));
  const running = run({ options, given: config, lifecycle, log, screen });
  try {
    const code = await Promise.race([stopped, running.then((work) => work())]);
    await lifecycle.stop();
    // Whatever was still being opened is closed as soon as it is there.
    await running.catch(() => undefined);
    await lifecycle.stop();
    process.exitCode = code;
    screen.say('Stopped; no process is left behind.');
  } catch (error) {
    await lifecycle.stop();
    throw error;
  } finally {
    // Last: until then, another start must find the folder taken.
    dropRunFile(resolve(options.data));
  }
}

/** One `tally start`. */
interface Start {
  readonly options: StartOptions;
  /** Without the URLs of embedded servers. */
  readonly given: Config;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  readonly screen: Screen;
}

/**
 * Opens everything.
 * @returns what is left to wait for; it resolves with the exit code
 */
async function run(start: Start): Promise<() => Promise<number>> {
  const { options, lifecycle, log, screen } = start;
  const stores = await openStores(options.data, start.given, lifecycle, (line) => screen.say(line));
  const { database, queue } = await prepare(start, stores.config);
  const drained = options.once
    ? await measureDrain({ database, queue, say: (line) => screen.say(line) })
    : undefined;
  const { listening, hopeless, recent } = startProcesses(start, stores);
  // Only once they listen: until then, somebody else may answer on these ports.
  const announced = listening.then(() => announce(start, stores));
  if (drained !== undefined) return () => Promise.race([drained(), hopeless]);
  await Promise.race([announced, hopeless]);
  if (isDemonstration(start) && options.rate > 0) {
    const service = startSimulatedJobService(database, options.rate, log);
    lifecycle.onStop('the simulated job service', () => service.close());
  }
  screen.show({ database, queue, recent, dashboardUrl: dashboardUrlOf(stores) });
  // Registered last, so that it closes first: it must not query what is being closed.
  lifecycle.onStop('the screen', () => screen.close());
  return () => hopeless;
}

function isDemonstration({ options, given }: Start): boolean {
  return options.demo && given.DATABASE_URL === undefined;
}

/** Waits for Redis, migrates the database and fills it with the demonstration. */
async function prepare(
  start: Start,
  config: StoresConfig,
): Promise<{ database: Database; queue: RefreshQueue }> {
  const { options, lifecycle, log, screen } = start;
  const redis = connectRedis(config, 'failFast', log);
  lifecycle.onStop('Redis', () => redis.disconnect());
  await waitForRedis(redis, REDIS_TIMEOUT_MS);
  await migrate(config.DATABASE_URL, log);
  const database = openDatabase(config.DATABASE_URL, log, {
    connections: 3,
    name: 'start',
    statementTimeoutMs: 600_000,
  });
  lifecycle.onStop('Postgres', () => database.close());
  if (isDemonstration(start)) {
    screen.say(
      `Loading the demonstration: ${options.executions} executions, statuses out of date.`,
    );
    // Somebody may have turned it off in this data folder, and nothing would seem to work.
    if ((await withClient(config.DATABASE_URL, 'start', readCaptureState)) !== 'enabled') {
      screen.say(
        'Capture is off, so nobody records what the demonstration changes; run: tally capture enable',
      );
    }
    await seedDemonstration(database, options.executions);
  }
  return { database, queue: openRefreshQueue(config, redis) };
}

/**
 * Starts the producer, the dashboard and the workers.
 * @returns `listening` resolves when producer and dashboard listen; `hopeless` rejects when a
 * process can't be started
 */
function startProcesses(
  { options, lifecycle, log, screen }: Start,
  { config, dashboard, producer }: Stores,
): { listening: Promise<unknown>; hopeless: Promise<never>; recent: RecentRefreshes } {
  const recent = new RecentRefreshes();
  let giveUp: (error: Error) => void = () => undefined;
  const hopeless = new Promise<never>((_resolve, reject) => {
    giveUp = reject;
  });
  // It may reject before anyone waits for it.
  hopeless.catch(() => undefined);
  const children = new Children({
    environment: childEnvironment(config),
    log,
    onLine: (line) => screen.log(line),
    onFigures: (figures) => recent.add(figures),
    onHopeless: (role) =>
      giveUp(
        new TallyError(
          'CHILD_ENDS',
          `the ${role} keeps exiting before it has started; the reason is logged above`,
        ),
      ),
  });
  lifecycle.onStop('the processes', () => children.stop(CHILD_GRACE_MS));
  const listening = Promise.all([
    children.start('producer', (failedStarts) => producer.handOver(failedStarts)),
    children.start('dashboard', (failedStarts) => dashboard.handOver(failedStarts)),
  ]);
  for (let n = 0; n < options.workers; n++) {
    void children.start('worker', async () => ({ WORKER_PORT: '0' }));
  }
  return { listening, hopeless, recent };
}

/** Tells people and other commands where the processes listen. */
function announce({ options, lifecycle, screen }: Start, stores: Stores): void {
  if (lifecycle.stopping) return;
  const { config, producer } = stores;
  const dashboardUrl = dashboardUrlOf(stores);
  writeRunFile(resolve(options.data), {
    databaseUrl: config.DATABASE_URL,
    redisUrl: config.REDIS_URL,
    dashboardUrl,
  });
  screen.say(`Dashboard: ${dashboardUrl}`);
  screen.say(`API: ${httpAddress(config.HTTP_HOST, producer.number)}/v1/refreshes`);
}

function dashboardUrlOf({ config, dashboard }: Stores): string {
  return httpAddress(config.HTTP_HOST, dashboard.number);
}

function childEnvironment(config: StoresConfig): NodeJS.ProcessEnv {
  return {
    ...process.env,
    DATABASE_URL: config.DATABASE_URL,
    DATABASE_URL_FILE: undefined,
    REDIS_URL: config.REDIS_URL,
    REDIS_URL_FILE: undefined,
    SHUTDOWN_GRACE_MS: String(Math.min(config.SHUTDOWN_GRACE_MS, CHILD_GRACE_MS - 500)),
  };
}
