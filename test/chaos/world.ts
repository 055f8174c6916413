import { setTimeout as delay } from 'node:timers/promises';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enableCapture } from '../../shared/postgres/capture.ts';
import { withClient } from '../../shared/postgres/database.ts';
import { migrate } from '../../shared/postgres/migrate.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { askRedis, startRedisServer, type RedisServer } from '../support/redis-servers.ts';
import { controlledPostgres, type ControlledServer } from '../support/server-control.ts';
import { spawnTally } from '../support/tally-process.ts';
import { openProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { OwnProcess, type Actor } from './actor.ts';
import { environmentOf, WORKERS, type Setup } from './setup.ts';

/** The servers and processes of one run. Tally reaches both servers through proxies; the run itself doesn't. */
export interface World {
  readonly setup: Setup;
  readonly postgres: ControlledServer;
  readonly redis: RedisServer;
  readonly postgresProxy: TcpProxy;
  readonly redisProxy: TcpProxy;
  readonly workers: readonly Actor[];
  readonly producers: readonly Actor[];
  /** All processes of Tally's. */
  readonly actors: readonly Actor[];
  /** What a process did that nobody asked it to. */
  readonly problems: string[];
  /** Asks Postgres over a connection of its own, again and again until it has answered. */
  readonly sql: (
    statement: string,
    values?: readonly unknown[],
  ) => Promise<Record<string, unknown>[]>;
  /** Sends a command to Redis over a connection of its own. @throws if Redis doesn't take it */
  readonly ask: (...command: string[]) => Promise<unknown>;
  /** Kills Postgres as a crash of its machine would, and starts it again. */
  readonly crashPostgres: () => Promise<void>;
  /** Runs a command of Tally's with direct connections. */
  readonly tally: (
    args: readonly string[],
    input?: string,
  ) => Promise<{ code: number | null; output: string }>;
  /** Writes what each process has said into a folder. @returns the folder */
  saveLogs(): string;
  close(): Promise<void>;
}

/** Tally's processes by what faults do with them. */
export interface Cast {
  readonly workers: readonly Actor[];
  readonly producers: readonly Actor[];
  /** No fault strikes these. */
  readonly others: readonly Actor[];
}

/** Makes a process of its own with these arguments, which isn't started yet. */
export type MakeProcess = (name: string, args: readonly string[]) => OwnProcess;

interface WorldOptions {
  /** Chooses the processes; by default workers and producers that the run starts one by one. */
  readonly cast?: (make: MakeProcess) => Cast;
  /** More settings. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Starts everything, with capture on. */
export async function startWorld(
  setup: Setup,
  folder: string,
  { cast = oneByOne(setup), settings: more = {} }: WorldOptions = {},
): Promise<World> {
  const silent = silentLogger();
  const postgres = await controlledPostgres();
  const redis = await startRedisServer(() => [
    'maxmemory-policy noeviction',
    'enable-debug-command yes',
    `appendonly ${setup.persistence ? 'yes' : 'no'}`,
    'appendfsync everysec',
  ]);
  const redisUrl = `redis://127.0.0.1:${redis.port}`;
  await migrate(postgres.url, silent);
  await withClient(postgres.url, 'chaos', enableCapture);
  const [postgresProxy, redisProxy] = [await openProxy(postgres.url), await openProxy(redisUrl)];
  const problems: string[] = [];
  const settings = { ...environmentOf(setup), ...more };
  const through = {
    ...settings,
    DATABASE_URL: postgresProxy.through(postgres.url),
    REDIS_URL: redisProxy.through(redisUrl),
  };
  const direct = { ...settings, DATABASE_URL: postgres.url, REDIS_URL: redisUrl };
  const { workers, producers, others } = cast(
    (name, args) => new OwnProcess(name, args, through, (problem) => problems.push(problem)),
  );
  const actors = [...producers, ...workers, ...others];
  for (const one of actors) one.start();

  const ask = async (...command: string[]): Promise<unknown> => {
    for (;;) {
      try {
        return await askRedis(redis.port, command);
      } catch (error) {
        // After a kill it takes connections before it has read its file.
        if (!(error instanceof Error && error.message.startsWith('LOADING'))) throw error;
        await delay(50);
      }
    }
  };
  return {
    setup,
    postgres,
    redis,
    postgresProxy,
    redisProxy,
    workers,
    producers,
    actors,
    problems,
    sql: async (statement, values = []) => {
      let last: unknown;
      return await until(
        () => `Postgres to answer ${statement}; it said ${String(last)}`,
        async () => {
          try {
            return await withClient(
              postgres.url,
              'chaos',
              async (client) =>
                (await client.query<Record<string, unknown>>(statement, [...values])).rows,
            );
          } catch (error) {
            last = error;
            return undefined;
          }
        },
        60_000,
      );
    },
    ask,
    crashPostgres: async () => {
      const file = join(postgres.folder, 'cluster', 'postmaster.pid');
      process.kill(Number.parseInt(readFileSync(file, 'utf8'), 10), 'SIGQUIT');
      await postgres.stop();
      await postgres.start();
    },
    tally: async (args, input) => {
      const child = spawnTally(args, direct, input);
      const { code } = await child.ended;
      return { code, output: child.lines.join('\n') };
    },
    saveLogs: () => {
      mkdirSync(folder, { recursive: true });
      for (const { name, lines } of actors) {
        writeFileSync(join(folder, `${name.replace(' ', '-')}.log`), lines.join('\n'));
      }
      return folder;
    },
    close: async () => {
      // The others first: one may be what starts the rest again.
      for (const one of actors.toReversed()) await one.end('SIGKILL');
      await Promise.all([postgresProxy.close(), redisProxy.close()]);
      await Promise.all([postgres.remove(), redis.remove()]);
    },
  };
}

function oneByOne({ producers }: Setup): (make: MakeProcess) => Cast {
  return (make) => {
    const several = (kind: 'worker' | 'producer', count: number): Actor[] =>
      Array.from({ length: count }, (_none, n) => make(`${kind} ${n + 1}`, [kind]));
    return {
      workers: several('worker', WORKERS),
      producers: several('producer', producers),
      others: [],
    };
  };
}
