import { setTimeout as delay } from 'node:timers/promises';
import { formatIdentity } from '../shared/execution.ts';
import { markInSet, MARKER_SET } from './contenders/harbor-loop.ts';
import { jobsLeft } from './contenders/tally.ts';
import { identityPages } from './data.ts';
import { setCapture, startContender, startTally, type MeasuredProcess } from './processes.ts';
import type { Arena } from './servers.ts';
import type { ChangeOptions } from './task-changes.ts';

const TALLY_WORKERS = 2;
const HARBOR_PROCESSES = 5;
// Harbor's processes have up to a hundred executions each in hand when the set is empty.
const HARBOR_SETTLE_MS = 5_000;
const POLL_MS = 100;

/** One who keeps statuses up to date while tasks change. */
export interface Keeper {
  readonly name: string;
  readonly title: string;
  start(arena: Arena): Promise<MeasuredProcess[]>;
  /** Records the executions after the changing ones, all at once; without it there is no run beside a backlog. */
  readonly addBacklog?: (arena: Arena, changing: number) => Promise<void>;
  readonly beforeChange: (arena: Arena) => ChangeOptions['beforeChange'];
  /** Resolves when nothing is left to do. */
  settled(arena: Arena): Promise<void>;
}

export const tally: Keeper = {
  name: 'tally',
  title: `Tally, ${TALLY_WORKERS} workers`,
  start: async (arena) => {
    await setCapture(arena, true);
    return await Promise.all([
      startTally('producer', arena),
      ...Array.from({ length: TALLY_WORKERS }, () => startTally('worker', arena)),
    ]);
  },
  addBacklog: async (arena, changing) => {
    await arena.database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source)
       SELECT id, vendor_type, 'api' FROM execution WHERE id > $1 ORDER BY id`,
      [changing],
    );
  },
  beforeChange: () => undefined,
  settled: async (arena) => {
    while ((await hasRows(arena, 'tally.outbox')) || (await jobsLeft(arena)) > 0) {
      await delay(POLL_MS);
    }
  },
};

/** graphile-worker as in the comparison of throughput, fed by a trigger on `task`. */
export const graphileWorker: Keeper = {
  name: 'graphile-worker',
  title: 'graphile-worker, 2 processes',
  start: async (arena) => {
    await setCapture(arena, false);
    const { migrateGraphileWorker, PROCESSES } = await import('./contenders/graphile-worker.ts');
    await migrateGraphileWorker(arena);
    await arena.database.query(
      `CREATE FUNCTION bench.add_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
       BEGIN
         PERFORM graphile_worker.add_job('refresh', json_build_object('executionId', NEW.execution_id),
                                         job_key := NEW.execution_id || ':' || NEW.vendor_type);
         RETURN NULL;
       END $$`,
    );
    await arena.database.query(
      'CREATE TRIGGER bench_job AFTER UPDATE ON task FOR EACH ROW EXECUTE FUNCTION bench.add_job()',
    );
    const processes = await Promise.all(
      Array.from({ length: PROCESSES }, () => startContender('graphile-worker', arena)),
    );
    for (const process of processes) process.go();
    return processes;
  },
  beforeChange: () => undefined,
  settled: async (arena) => {
    while (await hasRows(arena, 'graphile_worker._private_jobs')) await delay(POLL_MS);
  },
};

async function hasRows(arena: Arena, table: string): Promise<boolean> {
  const [row] = await arena.database.query<{ some: boolean }>(
    `SELECT EXISTS (SELECT FROM ${table}) AS some`,
  );
  return row?.some ?? false;
}

/** Harbor's own loop, every `intervalMs`. */
export function harbor(intervalMs: number): Keeper {
  return {
    name: 'harbor',
    title: `Harbor's loop every ${intervalMs / 1000} s, ${HARBOR_PROCESSES} processes`,
    start: async (arena) => {
      await setCapture(arena, false);
      const processes = await Promise.all(
        Array.from({ length: HARBOR_PROCESSES }, () =>
          startContender(`harbor-every:${intervalMs}`, arena),
        ),
      );
      for (const process of processes) process.go();
      return processes;
    },
    addBacklog: async (arena, changing) => {
      for await (const page of identityPages(arena.database)) {
        const later = page.filter(({ executionId }) => executionId > changing);
        if (later.length > 0) await markInSet(arena.redis, later);
      }
    },
    beforeChange: (arena) => (identity) => arena.redis.sadd(MARKER_SET, formatIdentity(identity)),
    settled: async (arena) => {
      while ((await arena.redis.scard(MARKER_SET)) > 0) await delay(POLL_MS);
      await delay(HARBOR_SETTLE_MS);
    },
  };
}
