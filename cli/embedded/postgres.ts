import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { describeError, TallyError } from '../../shared/errors.ts';
import { startGuarded, type GuardedServer } from './guarded-server.ts';
import { onFreePort } from './ports.ts';
import { findBinaries, hasStatements, reach, type Binaries } from './postgres-binaries.ts';
import { keptPassword, makeFolder, openLog, readIfThere, readPassword } from './kept-files.ts';
import { isAlive, run, type SystemUser, tellingLine, worksIn } from './programs.ts';
import { type EmbeddedOptions, type EmbeddedServer, until } from './server.ts';
import { canOwnBelow, nobody } from './system-user.ts';

const START_TIMEOUT_MS = 120_000;
const START_POLL_MS = 50;
const STOP_TIMEOUT_SECONDS = 8;
const GONE_TIMEOUT_MS = 10_000;
/** Above every system's limit, so no process has this pid. */
const NO_PID = 2_147_483_647;
const DATABASE = 'tally';
const USER = 'tally';

interface PostgresOptions extends EmbeddedOptions {
  /**
   * Root of the project. Its hash names the folder below /var/lib that stands in for an
   * inaccessible one.
   */
  readonly projectDirectory: string;
  /** Used instead of those that come with the project. */
  readonly binaries?: Binaries;
}

interface Cluster {
  readonly binaries: string;
  /** Postgres' data folder. */
  readonly data: string;
  readonly log: string;
  readonly as: SystemUser | undefined;
}

/**
 * Starts a Postgres on 127.0.0.1 whose data outlives it; the first time, it has an empty database
 * `tally`. The caller holds a lock on the data folder, so a server that still runs in it was
 * orphaned by a killed run, and is stopped first. The server survives Ctrl-C but not this process.
 * @throws TallyError POSTGRES_START with one sentence, or as `findBinaries`
 */
export async function startEmbeddedPostgres(options: PostgresOptions): Promise<EmbeddedServer> {
  try {
    return await start(options);
  } catch (error) {
    if (error instanceof TallyError) throw error;
    const problem = `Postgres in ${options.dataDirectory} did not start: ${describeError(error)}`;
    throw new TallyError('POSTGRES_START', problem, { cause: error });
  }
}

async function start(options: PostgresOptions): Promise<EmbeddedServer> {
  const as = await findSystemUser(join(options.dataDirectory, 'cluster'));
  const refuge = join('/var/lib', `tally-${shortHash(resolve(options.projectDirectory))}`);
  const folder = await openDataFolder(options, refuge, as);
  const data = join(folder, 'cluster');
  const found = options.binaries ?? (await findBinaries(data));
  const binaries = as === undefined ? found.folder : await reach(found, refuge, as, options.say);
  const password = await createCluster(folder, binaries, as);
  const cluster: Cluster = { binaries, data, as, log: join(folder, 'postgres.log') };
  await clearPostmaster(cluster, options.say);
  return await onFreePort(options.preferredPort, async (port) => {
    const server = launch(cluster, port);
    try {
      await createDatabase(port, password, server);
    } catch (error) {
      await server.stop();
      const line = tellingLine(fs.readFileSync(cluster.log, 'utf8')) || describeError(error);
      throw new Error(`${line} (log: ${cluster.log})`, { cause: error });
    }
    const url = `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`;
    return { url, stop: () => server.stop() };
  });
}

/**
 * As root: the owner of an existing cluster, else nobody, because Postgres refuses to run as root.
 */
async function findSystemUser(data: string): Promise<SystemUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = fs.existsSync(data) ? fs.statSync(data) : undefined;
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  return await nobody();
}

async function openDataFolder(
  { dataDirectory, say }: PostgresOptions,
  refuge: string,
  as: SystemUser | undefined,
): Promise<string> {
  makeFolder(dataDirectory);
  const given = fs.realpathSync(dataDirectory);
  if (as === undefined) return given;
  const standIn = join(refuge, `data-${shortHash(given)}`);
  const movedBefore =
    !fs.existsSync(join(given, 'cluster')) && fs.existsSync(join(standIn, 'cluster'));
  if (!movedBefore && (await canOwnBelow(given, as))) return given;
  makeFolder(standIn);
  for (const folder of [refuge, standIn]) fs.chmodSync(folder, 0o755);
  say(`Postgres runs as user nobody, who can't use ${given}: its data is kept in ${standIn}`);
  return standIn;
}

/**
 * Creates the cluster unless there is one. initdb runs in a temporary folder: a killed initdb
 * leaves a partial cluster that no server starts on, and may itself still be writing.
 * @returns the password of the only user
 */
async function createCluster(
  folder: string,
  binaries: string,
  as: SystemUser | undefined,
): Promise<string> {
  const data = join(folder, 'cluster');
  const passwordFile = join(folder, 'password');
  for (const name of fs.readdirSync(folder).filter((entry) => entry.startsWith('initdb-'))) {
    fs.rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 5 });
  }
  if (fs.existsSync(data)) {
    const kept = readPassword(passwordFile);
    if (kept !== undefined) return kept;
    const problem = `The password of ${data} is gone from ${passwordFile}.`;
    throw new TallyError('POSTGRES_PASSWORD', `${problem} Delete ${folder} to start afresh.`);
  }
  const password = keptPassword(passwordFile);
  const staging = fs.mkdtempSync(join(folder, 'initdb-'));
  const passwordForInitdb = join(staging, 'password');
  fs.writeFileSync(passwordForInitdb, password, { mode: 0o600 });
  if (as !== undefined) {
    for (const path of [staging, passwordForInitdb]) fs.chownSync(path, as.uid, as.gid);
  }
  const settings = ['--no-sync', '--encoding=UTF8', '--locale=C', '--auth=scram-sha-256'];
  const login = [`--username=${USER}`, `--pwfile=${passwordForInitdb}`];
  const target = `--pgdata=${join(staging, 'cluster')}`;
  await run(join(binaries, 'initdb'), [...settings, ...login, target], { as });
  fs.renameSync(join(staging, 'cluster'), data);
  fs.rmSync(staging, { recursive: true });
  return password;
}

/**
 * Stops a server that runs in this data folder. If its pid now belongs to a zombie or another
 * program, Postgres would refuse to start, so the pid in postmaster.pid is replaced. The file
 * stays: the rest of it tells Postgres whether backends of a killed postmaster are still writing.
 */
async function clearPostmaster(cluster: Cluster, say: (line: string) => void): Promise<void> {
  const file = join(cluster.data, 'postmaster.pid');
  const pid = postmasterPid(cluster.data);
  if (pid === undefined) {
    // Empty after a power failure, which Postgres takes for a server that is just starting.
    fs.rmSync(file, { force: true });
  } else if (await worksIn(pid, cluster.data, cluster.as)) {
    say(`stopping the Postgres that an earlier run left behind (process ${pid})`);
    await stop(cluster, pid);
  } else {
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/^\d+/, String(NO_PID)));
  }
}

function postmasterPid(data: string): number | undefined {
  return Number.parseInt(readIfThere(join(data, 'postmaster.pid')) ?? '', 10) || undefined;
}

function launch(cluster: Cluster, port: number): GuardedServer {
  const log = openLog(cluster.log);
  const settings = [`port=${port}`, 'listen_addresses=127.0.0.1', 'unix_socket_directories='];
  settings.push('shared_buffers=128MB', 'max_connections=100');
  if (hasStatements(cluster.binaries)) settings.push('shared_preload_libraries=pg_stat_statements');
  const args = settings.flatMap((setting) => ['-c', setting]);
  try {
    return startGuarded(join(cluster.binaries, 'postgres'), ['-D', cluster.data, ...args], {
      as: cluster.as,
      log,
      // Fast: running transactions are rolled back. Immediate, after 8 s, if its files are gone, a
      // checkpoint takes too long, or it is in crash recovery; it then recovers at the next start.
      signals: ['INT', 'QUIT'],
    });
  } finally {
    fs.closeSync(log);
  }
}

/** Stops the server that a killed run orphaned. */
async function stop(cluster: Cluster, pid: number): Promise<void> {
  const works = async (): Promise<boolean> => await worksIn(pid, cluster.data, cluster.as);
  if (!(await works())) return;
  try {
    const wait = ['-w', '-t', String(STOP_TIMEOUT_SECONDS)];
    const args = ['-D', cluster.data, ...wait, '-m', 'fast', 'stop'];
    await run(join(cluster.binaries, 'pg_ctl'), args, { as: cluster.as });
  } catch {
    if (await works()) process.kill(pid, 'SIGQUIT');
  }
  await until(() => !isAlive(pid), GONE_TIMEOUT_MS, `Postgres (process ${pid}) doesn't stop`);
}

/** Waits until the server answers, and creates the database unless it exists. */
async function createDatabase(
  port: number,
  password: string,
  server: GuardedServer,
): Promise<void> {
  const client = await connect(port, password, server);
  try {
    const sql = 'SELECT 1 FROM pg_database WHERE datname = $1';
    const { rowCount } = await client.query(sql, [DATABASE]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

async function connect(port: number, password: string, server: GuardedServer): Promise<Client> {
  const login = { host: '127.0.0.1', port, user: USER, password, database: 'postgres' };
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const client = new Client({ ...login, connectionTimeoutMillis: 10_000 });
    try {
      await client.connect();
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (server.ended || !isStarting(error) || performance.now() > deadline) throw error;
    }
    await delay(START_POLL_MS);
  }
}

/** Whether the server doesn't listen yet or is still reading its files. */
function isStarting(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error)) return false;
  return error.code === 'ECONNREFUSED' || error.code === '57P03';
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}
