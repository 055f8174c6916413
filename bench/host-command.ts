import { Client } from 'pg';
import { TallyError } from '../shared/errors.ts';
import type { Database } from '../shared/postgres/database.ts';
import { countDisagreements } from '../shared/postgres/disagreements.ts';
import { outboxRows } from '../test/support/executions.ts';
import { liveOneExecution, type HarborStep, type Life } from '../test/support/harbor-life.ts';
import { HarborStatements } from '../test/support/harbor-statements.ts';
import { until } from '../test/support/wait.ts';
import { setCapture } from './capture.ts';
import { describeMachine } from './machine.ts';
import { startTally } from './processes.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, number, ratio, spread, withSpread } from './table.ts';

const DRIVERS = 6;
const WORKERS = 2;
const SLICE_SECONDS = 15;
const DRAIN_TIMEOUT_MS = 120_000;
const STEPS = ['create', 'hook', 'stop', 'mark', 'sweep'] as const;

export interface HostOptions {
  readonly minutes: number;
}

/** What each of Harbor's calls took in one slice, in milliseconds. */
type Times = Record<HarborStep, number[]>;

/**
 * What Harbor's own statements take while Tally captures and refreshes, and while it doesn't, by turns. Without Tally
 * Harbor's refresh is called where Harbor waits for it.
 * @throws TallyError if a status is wrong at the end, a job failed, or a transaction was a deadlock's victim
 */
export async function hostReport(
  servers: Servers,
  { minutes }: HostOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const pairs = Math.max(1, Math.round((minutes * 60) / (2 * SLICE_SECONDS)));
  const [off, on]: [Times[], Times[]] = [[], []];
  await servers.withArena({ executions: 1_000, tasks: 4 }, async (arena) => {
    // What the arena is loaded with is out of date, and would count as wrong at the end.
    await arena.database.query(
      'SELECT FROM tally.refresh_executions(ARRAY(SELECT id::bigint FROM execution), true)',
    );
    const processes = [await startTally('producer', arena)];
    for (let n = 0; n < WORKERS; n++) processes.push(await startTally('worker', arena));
    const marked: number[] = [];
    // The first pair only warms up.
    for (let pair = 0; pair <= pairs; pair++) {
      progress(`pair ${pair} of ${pairs}`);
      for (const captured of pair % 2 === 0 ? [false, true] : [true, false]) {
        await setCapture(arena, captured);
        const { times, lives } = await slice(arena, captured);
        await until(
          'the outbox to be empty',
          async () => (await outboxRows(arena.database)) === 0,
          DRAIN_TIMEOUT_MS,
        );
        if (captured) marked.push(...lives.filter((life) => life.marked).map(({ id }) => id));
        // Nobody was there to refresh them.
        else await refreshAll(arena, lives);
        if (pair > 0) (captured ? on : off).push(times);
      }
    }
    for (const process of processes) process.mustRun();
    await check(arena.database, marked);
    await Promise.all(processes.map((process) => process.stop()));
  });
  const p99 = (slices: readonly Times[], step: HarborStep): (number | undefined)[] =>
    slices.map(
      (times) => times[step].toSorted((a, b) => a - b)[Math.floor(times[step].length * 0.99)],
    );
  const rows = STEPS.map((step) => [
    step,
    number([...off, ...on].reduce((sum, times) => sum + times[step].length, 0)),
    withSpread(spread(p99(off, step))),
    withSpread(spread(p99(on, step))),
    withSpread(ratio(p99(on, step), p99(off, step)), '×'),
  ]);
  const text =
    markdownTable(["Harbor's call", 'calls', 'p99 ms, off', 'p99 ms, on', 'on / off'], rows) +
    `\n\n${DRIVERS} connections, ${WORKERS} workers, ${pairs} pairs of ${SLICE_SECONDS} s; medians of the slices' p99, ` +
    'in parentheses the smallest and the largest. Nothing wrong, no deadlock, no failed job.';
  return { command, machine, text, data: { off, on } };
}

async function slice(
  arena: Arena,
  captured: boolean,
): Promise<{ times: Times; lives: readonly Life[] }> {
  const times: Times = { create: [], hook: [], stop: [], mark: [], sweep: [] };
  const step = async <T>(name: HarborStep, call: () => Promise<T>): Promise<T> => {
    const beginMs = performance.now();
    const result = await call();
    times[name].push(performance.now() - beginMs);
    return result;
  };
  const endMs = performance.now() + SLICE_SECONDS * 1_000;
  const drive = async (): Promise<Life[]> => {
    const client = new Client({ connectionString: arena.observerUrl });
    await client.connect();
    try {
      const harbor = new HarborStatements(client);
      const refresh = captured ? {} : { refresh: (id: number) => harbor.refresh(id) };
      const lives: Life[] = [];
      while (performance.now() < endMs) {
        lives.push(await liveOneExecution(harbor, { step, ...refresh }));
      }
      return lives;
    } finally {
      await client.end();
    }
  };
  const lives = (await Promise.all(Array.from({ length: DRIVERS }, drive))).flat();
  return { times, lives };
}

async function refreshAll({ database }: Arena, lives: readonly Life[]): Promise<void> {
  const ids = lives.filter(({ marked }) => !marked).map(({ id }) => id);
  await database.query('SELECT FROM tally.refresh_executions($1::bigint[], true)', [ids]);
}

async function check(database: Database, marked: readonly number[]): Promise<void> {
  const overwritten = await database.query(
    `SELECT id FROM execution WHERE id = ANY ($1) AND status <> 'Error'`,
    [marked],
  );
  // Their tasks say something else, and may.
  await database.query(
    `DELETE FROM task WHERE execution_id IN (SELECT id FROM execution WHERE status_message = 'stopped by the host')`,
  );
  const [counts] = await database.query<{ deadlocks: number; failures: number }>(
    `SELECT (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) AS deadlocks,
            (SELECT count(*) FROM tally.failure) AS failures`,
  );
  const found = {
    overwritten: overwritten.length,
    wrong: await countDisagreements(database, 'outOfDate'),
    ...counts,
  };
  if (Object.values(found).some((count) => count !== 0)) {
    throw new TallyError('BENCH_WRONG', `something went wrong: ${JSON.stringify(found)}`);
  }
}
