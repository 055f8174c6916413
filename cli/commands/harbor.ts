import { setTimeout as delay } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import type { Redis } from 'ioredis';
import { INTAKE_DUTY, MarkerTransfer } from '../../shared/harbor/transfer.ts';
import type { Config, ConfigWith } from '../../shared/process/config.ts';
import { openDatabase, type Database } from '../../shared/postgres/database.ts';
import { Lease } from '../../shared/postgres/lease.ts';
import { describeError, TallyError, UsageError } from '../../shared/errors.ts';
import {
  findMarkerFormats,
  MARKER_SET,
  TAKEN_SET,
  type MarkerFormat,
} from '../../shared/harbor/markers.ts';
import { connectHarborRedis } from '../../shared/harbor/redis.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import { waitForRedis } from '../../shared/queue/wait-for-redis.ts';
import { openRefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { schemaProblem } from '../../shared/postgres/schema.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import {
  describeExport,
  exportRefreshes,
  refuseRunningProducers,
} from '../../shared/harbor/export.ts';
import { progressBar } from '../progress-bar.ts';

const CONNECT_TIMEOUT_MS = 3_000;
// A lease that isn't renewed expires within ten seconds.
const LEASE_WAIT_MS = 11_000;
const LEASE_POLL_MS = 500;

interface Stores {
  readonly harbor: Redis;
  /** Commits only under the lease of the marker intake. */
  readonly session: Database;
}

interface ExportOptions {
  readonly format?: MarkerFormat;
  readonly force?: true;
  readonly data: string;
}

/**
 * Adds `tally harbor import`, which takes in Harbor's markers, and `export`, which turns pending
 * refreshes back into markers.
 */
export function addHarborCommand(program: Command): void {
  const harbor = program
    .command('harbor')
    .description("take in Harbor's markers, or turn waiting refreshes back into markers");
  harbor
    .command('import')
    .description('record a refresh for every marker in HARBOR_REDIS_URL, and exit')
    .addOption(dataOption())
    .action((options: { data: string }) => {
      const config = commandConfig(['DATABASE_URL', 'HARBOR_REDIS_URL'], options.data);
      return withStores(config, (stores) => importMarkers(config, stores));
    });
  harbor
    .command('export')
    .description(
      'turn every refresh in the outbox or on the queue into a marker; stop the producers first',
    )
    .addOption(
      new Option(
        '--format <format>',
        'keys for Harbor 2.8 to 2.15, set for later ones; optional if there is only the set',
      ).choices(['set', 'keys']),
    )
    .option('--force', 'even if a producer seems to be running')
    .addOption(dataOption())
    .action((options: ExportOptions) => {
      const config = commandConfig(['DATABASE_URL', 'REDIS_URL', 'HARBOR_REDIS_URL'], options.data);
      return withStores(config, (stores) => exportMarkers(config, options, stores));
    });
}

async function withStores(
  config: ConfigWith<'DATABASE_URL' | 'HARBOR_REDIS_URL'>,
  work: (stores: Stores) => Promise<void>,
): Promise<void> {
  const harbor = connectHarborRedis(config.HARBOR_REDIS_URL, silentLogger());
  const database = openDatabase(config.DATABASE_URL, silentLogger(), {
    connections: 2,
    name: 'harbor',
    statementTimeoutMs: 10_000,
  });
  const lease = new Lease(database, INTAKE_DUTY);
  try {
    await waitForRedis(harbor, CONNECT_TIMEOUT_MS, 'HARBOR_REDIS_URL');
    const problem = await schemaProblem(database);
    if (problem !== undefined) throw new TallyError('NO_SCHEMA', problem);
    if (!(await takeInTime(lease))) {
      throw new TallyError(
        'INTAKE_RUNS',
        "another process takes in Harbor's markers: a producer with HARBOR_REDIS_URL, or a second tally harbor; stop it and run this again",
      );
    }
    await work({ harbor, session: lease.guard() });
  } catch (error) {
    if (error instanceof TallyError && error.code !== 'LEASE_LOST') throw error;
    throw new TallyError(
      'INTERRUPTED',
      `stopped halfway: ${describeError(error)}; nothing is lost, run the same command again`,
      { cause: error },
    );
  } finally {
    harbor.disconnect();
    await lease.release();
    await database.close();
  }
}

/**
 * Takes the lease, if necessary once that of a killed process has expired.
 * @returns false if its holder is alive
 */
async function takeInTime(lease: Lease): Promise<boolean> {
  const endMs = performance.now() + LEASE_WAIT_MS;
  for (;;) {
    if (await lease.take()) return true;
    if (performance.now() > endMs) return false;
    await delay(LEASE_POLL_MS);
  }
}

async function importMarkers(config: Config, { harbor, session }: Stores): Promise<void> {
  const bar = progressBar(process.stderr, 'markers and keys');
  let [taken, malformed, looked] = [0, 0, 0];
  const transfer = new MarkerTransfer(harbor, config.HARBOR_MARKER_DELAY_MS, (page) => {
    taken += page.taken;
    malformed += page.malformed.length;
    bar.at(taken + malformed);
  });
  const never = new AbortController().signal;
  try {
    const sets = [await harbor.scard(TAKEN_SET), await harbor.scard(MARKER_SET)] as const;
    bar.total(sets[0] + sets[1]);
    // What a killed intake left is a set of its own.
    if (sets[0] > 0) await transfer.takeSet(session, never);
    await transfer.takeSet(session, never);
    const keys = await harbor.dbsize();
    bar.total(keys);
    await transfer.takeKeys(session, never, (count) => bar.at(Math.min((looked += count), keys)));
  } finally {
    bar.stop();
  }
  process.stdout.write(`imported ${taken} markers, ${malformed} malformed dropped\n`);
}

async function exportMarkers(
  config: ConfigWith<'REDIS_URL'>,
  options: ExportOptions,
  { harbor, session }: Stores,
): Promise<void> {
  if (options.force !== true) await refuseRunningProducers(session);
  const format = options.format ?? (await detectFormat(harbor));
  const redis = connectRedis(config, 'failFast', silentLogger());
  const bar = progressBar(process.stderr, 'refreshes');
  try {
    await waitForRedis(redis, CONNECT_TIMEOUT_MS);
    const queue = openRefreshQueue(config, redis);
    const exported = await exportRefreshes({ session, harbor, queue, format, bar });
    bar.stop();
    process.stdout.write(describeExport(exported, format));
  } finally {
    bar.stop();
    redis.disconnect();
  }
}

/** Finds the format that this Harbor reads. @throws UsageError if the markers don't tell */
async function detectFormat(harbor: Redis): Promise<MarkerFormat> {
  const formats = await findMarkerFormats(harbor);
  if (formats.join() === 'set') return 'set';
  // Keys may be left over from before an upgrade to a version that ignores them. Refreshes exported
  // as keys would then be lost.
  const found = {
    '': 'no markers',
    keys: 'keys, which may be left over from before an upgrade,',
    'set,keys': 'markers of both formats',
  }[formats.join()];
  throw new UsageError(
    `there are ${found} in HARBOR_REDIS_URL, so say which format Harbor reads: --format keys for 2.8 to 2.15, --format set for later ones`,
  );
}
