import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { withClient } from '../../shared/postgres/database.ts';
import { residentMegabytes } from '../chaos/calm.ts';
import type { World } from '../chaos/world.ts';

const EVERY_MS = 5_000;

/** What everything takes at one moment; a store that didn't answer is left out. */
export interface Sample {
  /** Since the begin of the run. */
  readonly seconds: number;
  /** Whether nothing waited and nobody wrote. */
  readonly calm: boolean;
  readonly processes: Readonly<
    Record<string, { readonly megabytes: number; readonly handles: number }>
  >;
  readonly postgres?: {
    /** Of Tally's processes. */
    readonly connections: number;
    /** Of all tables in schema `tally`, with their indexes. */
    readonly tableMegabytes: number;
    readonly deadRows: number;
  };
  readonly redis?: {
    readonly connections: number;
    /** Without those whose number is meant to grow: activity is kept for a day, and a few backlog jobs are. */
    readonly keys: number;
    readonly megabytes: number;
  };
}

/** Takes a sample every five seconds until it is stopped. */
export class Sampler {
  readonly samples: Sample[] = [];
  /** Set while nothing waits and nobody writes. */
  calm = false;
  readonly #world: World;
  readonly #stopped = new AbortController();
  readonly #beganMs = performance.now();
  readonly #running: Promise<void>;

  constructor(world: World) {
    this.#world = world;
    this.#running = this.#run();
  }

  /** How long it has been sampling. */
  get seconds(): number {
    return (performance.now() - this.#beganMs) / 1_000;
  }

  async take(): Promise<void> {
    const { seconds, calm } = this;
    const [postgres, redis] = await Promise.all([
      readPostgres(this.#world).catch(() => undefined),
      readRedis(this.#world).catch(() => undefined),
    ]);
    this.samples.push({
      seconds,
      calm: calm && this.calm,
      processes: readProcesses(this.#world),
      ...(postgres && { postgres }),
      ...(redis && { redis }),
    });
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      await this.take();
      await delay(EVERY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

function readProcesses({ actors }: World): Sample['processes'] {
  return Object.fromEntries(
    actors.flatMap(({ name, pid }) =>
      pid === undefined
        ? []
        : [[name, { megabytes: residentMegabytes(pid), handles: openHandles(pid) }]],
    ),
  );
}

function openHandles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

async function readPostgres({ postgres }: World): Promise<NonNullable<Sample['postgres']>> {
  return await withClient(postgres.url, 'chaos', async (client) => {
    const { rows } = await client.query<{ connections: number; bytes: number; dead: number }>(
      `SELECT (SELECT count(*) FROM pg_stat_activity
                WHERE application_name LIKE 'tally%' AND application_name <> 'tally chaos')::int AS connections,
              (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
                WHERE c.relnamespace = 'tally'::regnamespace AND c.relkind = 'r')::float8 AS bytes,
              (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'tally')::int AS dead`,
    );
    const { connections, bytes, dead } = rows[0] ?? { connections: 0, bytes: 0, dead: 0 };
    return { connections, tableMegabytes: bytes / 2 ** 20, deadRows: dead };
  });
}

const MEANT_TO_GROW = /^chaos:(refresh-activity|backlog:backlog-\d)/;

async function readRedis({ ask }: World): Promise<NonNullable<Sample['redis']>> {
  const clients = String(await ask('CLIENT', 'LIST')).split('\n');
  const keys = (await ask('KEYS', '*')) as string[];
  const memory = /^used_memory:(\d+)/m.exec(String(await ask('INFO', 'memory')))?.[1];
  return {
    connections: clients.filter((line) => line !== '' && !line.includes('cmd=client|list')).length,
    keys: keys.filter((key) => !MEANT_TO_GROW.test(key)).length,
    megabytes: Number(memory) / 2 ** 20,
  };
}
