import { setTimeout as delay } from 'node:timers/promises';
import type { Actor } from './actor.ts';
import type { Population } from './ledger.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** What a fault strikes; two that strike the same never overlap. */
type Target = 'worker' | 'producer' | 'redis' | 'redis network' | 'postgres' | 'network' | 'data';

export interface Fault {
  readonly name: string;
  readonly target: Target;
  /** Strikes and puts everything right again, within about `ms` milliseconds. */
  strike(world: World, random: Random, ms: number, population: Population): Promise<void>;
}

export const FAULTS: readonly Fault[] = [
  ...actorFaults('worker'),
  ...actorFaults('producer'),
  {
    name: 'all workers killed',
    target: 'worker',
    strike: async ({ workers }, _random, ms) => {
      await Promise.all(workers.map((worker) => worker.end('SIGKILL')));
      await delay(ms / 2);
      for (const worker of workers) worker.start();
    },
  },
  {
    name: 'FLUSHALL',
    target: 'redis',
    strike: async ({ ask }) => void (await ask('FLUSHALL')),
  },
  {
    name: 'Redis killed',
    target: 'redis',
    strike: async ({ redis }, _random, ms) => {
      await redis.kill();
      await delay(ms / 2);
      await redis.start();
    },
  },
  redisSetting('Redis out of memory', ['CONFIG', 'SET', 'maxmemory', '1'], ['maxmemory', '0']),
  {
    name: 'Redis read-only, its primary dead',
    target: 'redis',
    strike: async ({ ask }, _random, ms) => {
      await ask('REPLICAOF', '127.0.0.1', '1');
      await delay(ms);
      await ask('REPLICAOF', 'NO', 'ONE');
    },
  },
  {
    name: 'Redis answers nobody',
    target: 'redis',
    strike: async ({ ask }, _random, ms) => {
      await ask('CLIENT', 'PAUSE', String(ms), 'ALL');
      await delay(ms);
    },
  },
  ...networkFaults('redis network', 'redisProxy', 'Redis'),
  ...networkFaults('network', 'postgresProxy', 'Postgres'),
  {
    name: 'Postgres crashes',
    target: 'postgres',
    strike: ({ crashPostgres }) => crashPostgres(),
  },
  {
    name: 'Postgres stopped',
    target: 'postgres',
    strike: async ({ postgres }, _random, ms) => {
      await postgres.stop();
      await delay(ms / 2);
      await postgres.start();
    },
  },
  {
    name: "Tally's backends terminated",
    target: 'postgres',
    strike: async ({ sql }) => {
      await sql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tally%' AND random() < 0.7`,
      );
    },
  },
  postgresSetting('Postgres read-only', 'default_transaction_read_only', 'on'),
  postgresSetting('commits wait for a standby', 'synchronous_standby_names', `'nobody'`),
  {
    name: 'task locked, as ALTER TABLE does',
    target: 'postgres',
    strike: async ({ sql }, _random, ms) => {
      await sql(`DO $$ BEGIN LOCK TABLE task; PERFORM pg_sleep(${ms / 1_000}); END $$`);
    },
  },
  {
    name: 'executions locked',
    target: 'data',
    strike: async ({ sql }, random, ms, { FREE, MARKED }) => {
      const ids = [...FREE, ...MARKED].filter(() => random.chance(30));
      await sql(
        `DO $$ BEGIN
           PERFORM FROM execution WHERE id = ANY ('{${ids.join(',')}}') ORDER BY id FOR UPDATE;
           PERFORM pg_sleep(${ms / 1_000});
         END $$`,
      );
    },
  },
  {
    name: 'executions poisoned',
    target: 'data',
    strike: async ({ sql }, random, ms, population) => {
      const ids = Object.values(population)
        .flat()
        .filter(() => random.chance(3));
      await sql('INSERT INTO poison SELECT unnest($1::int[])', [ids]);
      await delay(ms);
      await sql('DELETE FROM poison');
    },
  },
  {
    name: 'an operator asks and retries',
    target: 'data',
    strike: async ({ tally }, random, ms, { FREE, MARKED }) => {
      const until = performance.now() + ms;
      while (performance.now() < until) {
        const lines = [
          ...Array.from({ length: 50 }, () => `${random.pick(FREE)}:FREE`),
          ...Array.from({ length: 20 }, () => `${random.pick(MARKED)}:MARKED`),
        ];
        await tally(['enqueue', '-'], lines.join('\n'));
        await tally(['retry', '--all']);
      }
    },
  },
];

/** Lets a fault strike within three seconds; one that another fault cuts short is over. @returns how it ended */
export async function strike(
  fault: Fault,
  world: World,
  random: Random,
  population: Population,
  say: (line: string) => void,
): Promise<'over' | 'cut short'> {
  await delay(random.whole(0, 3_000));
  const ms = random.whole(500, 8_000);
  say(`${fault.name}, ${ms} ms`);
  try {
    await fault.strike(world, random, ms, population);
    return 'over';
  } catch (error) {
    // Its server was struck by another fault meanwhile.
    say(`${fault.name} was cut short: ${String(error)}`);
    return 'cut short';
  }
}

/** Puts right what a fault may have left behind when it was cut short by another. */
export async function putRight(world: World): Promise<void> {
  world.redisProxy.mode = 'pass';
  world.postgresProxy.mode = 'pass';
  for (const actor of world.actors) {
    actor.thaw();
    actor.start();
  }
  await world.sql('DELETE FROM poison');
  for (const name of ['default_transaction_read_only', 'synchronous_standby_names']) {
    await world.sql(`ALTER SYSTEM RESET ${name}`);
  }
  await world.sql('SELECT pg_reload_conf()');
  await world.ask('REPLICAOF', 'NO', 'ONE');
  await world.ask('CONFIG', 'SET', 'maxmemory', '0');
}

function actorFaults(target: 'worker' | 'producer'): Fault[] {
  const any = (world: World, random: Random): Actor =>
    random.pick(target === 'worker' ? world.workers : world.producers);
  return [
    {
      name: `${target} killed`,
      target,
      strike: async (world, random, ms) => {
        const actor = any(world, random);
        await actor.end('SIGKILL');
        await delay(ms / 4);
        actor.start();
      },
    },
    {
      name: `${target} frozen`,
      target,
      strike: async (world, random, ms) => {
        const actor = any(world, random);
        actor.freeze();
        await delay(ms);
        actor.thaw();
      },
    },
    {
      name: `${target} restarted`,
      target,
      strike: async (world, random) => {
        const actor = any(world, random);
        const how = await actor.end('SIGTERM');
        // Forced at its deadline while a store is unavailable.
        if (how !== 0 && how !== 1) world.problems.push(`${actor.name} ended with ${how}`);
        actor.start();
      },
    },
  ];
}

function networkFaults(
  target: Target,
  proxy: 'redisProxy' | 'postgresProxy',
  server: string,
): Fault[] {
  const during = (name: string, mode: 'hold' | 'swallow' | 'refuse'): Fault => ({
    name,
    target,
    strike: async (world, _random, ms) => {
      if (mode === 'refuse') world[proxy].reset();
      world[proxy].mode = mode;
      await delay(ms);
      world[proxy].mode = 'pass';
    },
  });
  return [
    during(`${server} unreachable`, 'refuse'),
    during(`the network to ${server} holds bytes back`, 'hold'),
    during(`the network to ${server} swallows bytes`, 'swallow'),
    {
      name: `connections to ${server} reset`,
      target,
      strike: async (world) => world[proxy].reset(),
    },
  ];
}

function redisSetting(
  name: string,
  command: readonly string[],
  undo: readonly [string, string],
): Fault {
  return {
    name,
    target: 'redis',
    strike: async ({ ask }, _random, ms) => {
      await ask(...command);
      await delay(ms);
      await ask('CONFIG', 'SET', ...undo);
    },
  };
}

function postgresSetting(name: string, setting: string, value: string): Fault {
  return {
    name,
    target: 'postgres',
    strike: async ({ sql }, _random, ms) => {
      await sql(`ALTER SYSTEM SET ${setting} = ${value}`);
      await sql('SELECT pg_reload_conf()');
      await delay(ms);
      await sql(`ALTER SYSTEM RESET ${setting}`);
      await sql('SELECT pg_reload_conf()');
    },
  };
}
