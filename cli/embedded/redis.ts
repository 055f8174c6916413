import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { describeError, TallyError } from '../../shared/errors.ts';
import { ioredis } from '../../shared/queue/packages.ts';
import { startGuarded } from './guarded-server.ts';
import { onFreePort } from './ports.ts';
import { keptPassword, makeFolder, openLog, readIfThere, writeDurably } from './kept-files.ts';
import { findOnPath, isAlive, tellingLine, worksIn } from './programs.ts';
import { type EmbeddedOptions, type EmbeddedServer, once, until } from './server.ts';

const READY_TIMEOUT_MS = 10_000;
const GONE_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 2_000;

/** What a later run must know about this one. */
const runSchema = z.object({ port: z.number() });
const PID_FILE = 'redis.pid';

/**
 * Starts a Redis (or Valkey) on 127.0.0.1 that keeps its data, with the settings that BullMQ needs.
 * The caller holds a lock on the data folder, so a server that still runs in it was orphaned by a
 * killed run, and is stopped first. The server survives Ctrl-C but not this process.
 * @throws TallyError REDIS_MISSING or REDIS_START, with one sentence
 */
export async function startEmbeddedRedis(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const program = findOnPath(['redis-server', 'valkey-server']);
  if (program === undefined) {
    const ways = 'apt-get install redis-server, brew install redis';
    const problem = `No redis-server or valkey-server on PATH: install one (${ways})`;
    throw new TallyError('REDIS_MISSING', `${problem} or set REDIS_URL.`);
  }
  try {
    makeFolder(options.dataDirectory);
    const folder = fs.realpathSync(options.dataDirectory);
    // Only this folder: above it, it would lock out Postgres' user.
    fs.chmodSync(folder, 0o700);
    const password = keptPassword(join(folder, 'password'));
    await stopOrphan(folder, password, options.say);
    return await onFreePort(options.preferredPort, (port) =>
      launch(program, folder, port, password),
    );
  } catch (error) {
    const problem = `Redis in ${options.dataDirectory} did not start: ${describeError(error)}`;
    throw new TallyError('REDIS_START', problem, { cause: error });
  }
}

async function launch(
  program: string,
  folder: string,
  port: number,
  password: string,
): Promise<EmbeddedServer> {
  const [runFile, logFile] = [join(folder, 'run.json'), join(folder, 'redis.log')];
  writeDurably(runFile, JSON.stringify({ port }));
  // The configuration comes from a file: if this process died before it had filled a pipe, Redis
  // would run without a password.
  const config = join(folder, 'redis.conf');
  writeDurably(config, settings(port, password));
  const log = openLog(logFile);
  const server = startGuarded(program, ['-'], {
    cwd: folder,
    input: config,
    log,
    // SIGTERM writes out the append-only file, as SHUTDOWN NOSAVE does.
    signals: ['TERM', 'KILL'],
  });
  fs.closeSync(log);
  const stop = once(async () => {
    await server.stop();
    fs.rmSync(runFile, { force: true });
  });
  const answers = async (): Promise<boolean> => server.ended || (await ping(port, password));
  await until(answers, READY_TIMEOUT_MS, '').catch(stop);
  if (!server.ended) return { url: `redis://:${password}@127.0.0.1:${port}`, stop };
  await stop();
  throw new Error(`${tellingLine(fs.readFileSync(logFile, 'utf8'))} (log: ${logFile})`);
}

/** The settings that differ from the defaults: see "Redis for BullMQ" in the documentation. */
function settings(port: number, password: string): string {
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    // Relative to its working folder.
    `pidfile ${PID_FILE}`,
    `requirepass ${password}`,
    'maxmemory-policy noeviction',
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    // The old name of hash-max-listpack-value: newer servers accept both, Redis 6 only this one.
    'hash-max-ziplist-value 512',
  ];
  return `${lines.join('\n')}\n`;
}

async function ping(port: number, password: string): Promise<boolean> {
  const answer = await withClient(port, password, (client) => client.ping()).catch(() => '');
  return answer === 'PONG';
}

/**
 * Logs in with a separate command. A password passed as an option is also "accepted", with a
 * warning, by a Redis without one; and that one is somebody else's.
 */
async function withClient<T>(
  port: number,
  password: string,
  action: (client: Redis) => Promise<T>,
): Promise<T> {
  const client = new ioredis.Redis({
    host: '127.0.0.1',
    port,
    protocol: 2,
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: null,
    connectTimeout: ANSWER_TIMEOUT_MS,
    commandTimeout: ANSWER_TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.auth(password);
    return await action(client);
  } finally {
    // On a closed connection, disconnect() would keep a timer, and with it the process, for 2 s.
    if (client.status !== 'end') client.disconnect();
  }
}

/**
 * Stops the server that a killed run orphaned. It is recognized by our password and folder, or by
 * the folder alone if it hangs.
 */
async function stopOrphan(
  folder: string,
  password: string,
  say: (line: string) => void,
): Promise<void> {
  const text = readIfThere(join(folder, 'run.json'));
  if (text === undefined) return;
  const { port } = runSchema.parse(JSON.parse(text));
  const pid = Number(readIfThere(join(folder, PID_FILE)) ?? Number.NaN);
  const orphan = await withClient(port, password, async (client) => {
    // A copy of the whole project has the same password.
    if ((await client.config('GET', 'dir')).at(1) !== folder) return undefined;
    return Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);
  }).catch(async () => ((await worksIn(pid, folder)) ? pid : undefined));
  if (orphan === undefined) return;
  say(`stopping the Redis that an earlier run left behind (process ${orphan})`);
  await end(
    (signal) => isAlive(orphan) && process.kill(orphan, signal),
    () => !isAlive(orphan),
  );
}

/** SIGTERM flushes the append-only file, like SHUTDOWN NOSAVE; a server that hangs is killed. */
async function end(
  kill: (signal: 'SIGTERM' | 'SIGKILL') => boolean,
  gone: () => boolean,
): Promise<void> {
  kill('SIGTERM');
  await until(gone, GONE_TIMEOUT_MS, 'Redis does not stop').catch(async () => {
    kill('SIGKILL');
    await until(gone, GONE_TIMEOUT_MS, 'Redis survived being killed');
  });
}
