import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { TallyError } from '../shared/errors.ts';
import type { Database } from '../shared/postgres/database.ts';
import { formatIdentity } from '../shared/execution.ts';
import { countDisagreements } from '../shared/postgres/disagreements.ts';
import { outboxRows } from '../test/support/executions.ts';
import { liveOneExecution, type HarborStep, type Life } from '../test/support/harbor-life.ts';
import { HarborStatements } from '../test/support/harbor-statements.ts';
import { until } from '../test/support/wait.ts';
import { MARKER_SET } from './contenders/harbor-loop.ts';
import { describeMachine } from './machine.ts';
import { setCapture, startContender, startTally, type MeasuredProcess } from './processes.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, number, ratio, spread, withSpread } from './table.ts';

const DRIVERS = 6;
const WORKERS = 2;
const SLICE_SECONDS = 30;
// Harbor's loop comes round every 30 s, which is once a slice.
const HARBOR_LOOP_MS = 30_000;
const UNREAD_MARKERS = 'bench:unread-markers';
const WATCH_MS = 250;
const DRAIN_TIMEOUT_MS = 120_000;
// A connection's first call of each kind makes Postgres look up and compile what the call needs, the triggers too.
const FIRST = 'first on a connection';
const KINDS = ['create', 'hook', 'stop', 'mark', 'sweep', FIRST] as const;
type Kind = (typeof KINDS)[number];

export interface HostOptions {
  readonly minutes: number;
  /** Executions that begin a second, as long as the machine keeps up with them. */
  readonly rate: number;
  /** Other executions that are recorded at the beginning of each slice, to compare the lanes that drain them. */
  readonly backlog?: number;
}

/** What Harbor's calls are measured beside. */
interface Mode {
  readonly title: string;
  readonly captured: boolean;
  readonly settings?: Settings;
}

type Settings = Readonly<Record<string, string>>;

const CAPTURE: readonly Mode[] = [
  { title: 'Harbor alone', captured: false },
  { title: 'with Tally', captured: true },
];
const LANES: readonly Mode[] = [
  { title: 'express lane', captured: true, settings: { BACKLOG_JOBS: '0' } },
  { title: 'backlog lane', captured: true },
];

/** What each of Harbor's calls took in one slice, in milliseconds. */
type Times = Record<Kind, number[]>;

/**
 * What Harbor's own calls take, by turns: with capture off, while Harbor's loop refreshes, and with capture on, while Tally
 * does; or, with a backlog, while the express lane and the backlog lane drain it.
 * @throws TallyError if a status is wrong at the end, a job failed, or a transaction was a deadlock's victim
 */
export async function hostReport(
  servers: Servers,
  { minutes, rate, backlog }: HostOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const modes = backlog === undefined ? CAPTURE : LANES;
  const rounds = Math.max(1, Math.round((minutes * 60) / (modes.length * SLICE_SECONDS)));
  const measured = new Map<Mode, Times[]>(modes.map((mode) => [mode, []]));
  await servers.withArena({ executions: backlog ?? 1_000, tasks: 4 }, async (arena) => {
    // What the arena is loaded with is out of date, and would count as wrong at the end.
    await arena.database.query(
      'SELECT FROM tally.refresh_executions(ARRAY(SELECT id::bigint FROM execution), true)',
    );
    const workers = await Promise.all(
      Array.from({ length: WORKERS }, () => startTally('worker', arena)),
    );
    const producer = new Producer((settings) => startTally('producer', arena, settings));
    const marked: number[] = [];
    // The first round only warms up.
    for (let round = 0; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
        await setCapture(arena, mode.captured);
        await producer.runWith(mode.settings ?? {});
        const { times, lives } = await slice(arena, mode, rate, backlog);
        // By the faster lane, whichever was measured.
        await producer.runWith({});
        await until(
          'the outbox to be empty',
          async () => (await outboxRows(arena.database)) === 0,
          DRAIN_TIMEOUT_MS,
        );
        if (mode.captured) marked.push(...lives.filter((life) => life.marked).map(({ id }) => id));
        // Harbor's loop would come to them in its next round.
        else await refreshAll(arena, lives);
        if (round > 0) measured.get(mode)?.push(times);
      }
    }
    for (const worker of workers) worker.mustRun();
    await check(arena.database, marked);
    await Promise.all([producer.stop(), ...workers.map((worker) => worker.stop())]);
  });
  const timesOf = (times: Times, kind: Kind | 'all'): number[] =>
    kind === 'all' ? Object.values(times).flat() : times[kind];
  const p99 = (mode: Mode, kind: Kind | 'all'): (number | undefined)[] =>
    (measured.get(mode) ?? []).map((times) => {
      const sorted = timesOf(times, kind).toSorted((a, b) => a - b);
      return sorted[Math.floor(sorted.length * 0.99)];
    });
  const all = [...measured.values()].flat();
  const [first, ...others] = modes;
  const rows = (['all', ...KINDS] as const).map((kind) => [
    kind,
    number(all.reduce((sum, times) => sum + timesOf(times, kind).length, 0)),
    ...modes.map((mode) => withSpread(spread(p99(mode, kind)))),
    ...others.map((mode) => withSpread(ratio(p99(mode, kind), first ? p99(first, kind) : []), '×')),
  ]);
  const titles = [
    ...modes.map(({ title }) => `p99 ms, ${title}`),
    ...others.map(({ title }) => `${title} / ${first?.title}`),
  ];
  const text =
    markdownTable(["Harbor's call", 'calls', ...titles], rows) +
    `\n\n${rate} executions a second over ${DRIVERS} connections, ${WORKERS} workers, ${rounds} rounds of ${SLICE_SECONDS} s each` +
    (backlog === undefined ? '' : `, a backlog of ${number(backlog)} in each`) +
    "; medians of the slices' p99, in parentheses the smallest and the largest. Nothing wrong, no deadlock, no failed job.";
  const data = [...measured].map(([{ title }, slices]) => ({ title, slices }));
  return { command, machine, text, data };
}

/** The one producer, started anew only for other settings: a process that was just started is slow. */
class Producer {
  readonly #start: (settings: Settings) => Promise<MeasuredProcess>;
  #settings = '';
  #process: MeasuredProcess | undefined;

  constructor(start: (settings: Settings) => Promise<MeasuredProcess>) {
    this.#start = start;
  }

  async runWith(settings: Settings): Promise<void> {
    this.#process?.mustRun();
    if (this.#process !== undefined && this.#settings === JSON.stringify(settings)) return;
    await this.stop();
    this.#process = await this.#start(settings);
    this.#settings = JSON.stringify(settings);
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }
}

/** Lives through executions for a slice's time, or until the backlog is drained. */
async function slice(
  arena: Arena,
  { captured }: Mode,
  rate: number,
  backlog: number | undefined,
): Promise<{ times: Times; lives: readonly Life[] }> {
  const times: Times = { create: [], hook: [], stop: [], mark: [], sweep: [], [FIRST]: [] };
  const lastRow = backlog === undefined ? undefined : await recordBacklog(arena, backlog);
  const loop = captured ? undefined : await startContender(`harbor-every:${HARBOR_LOOP_MS}`, arena);
  const beginMs = performance.now();
  const endMs = beginMs + SLICE_SECONDS * 1_000;
  // In the middle of the slice. What is marked after that waits for the next slice's round, so that each is a whole one.
  const runLoop = async (): Promise<void> => {
    if (loop === undefined) return;
    await sleep((SLICE_SECONDS * 1_000) / 2);
    loop.go();
  };
  // With Tally, Harbor goes on writing markers, and nobody reads them.
  const markers = captured ? UNREAD_MARKERS : MARKER_SET;
  let begun = 0;
  let ended = false;
  const drive = async (): Promise<Life[]> => {
    const client = new Client({ connectionString: arena.observerUrl });
    // What it breaks off rejects.
    client.on('error', () => undefined);
    await client.connect();
    const called = new Set<HarborStep>();
    const step = async <T>(name: HarborStep, call: () => Promise<T>): Promise<T> => {
      const beginMs = performance.now();
      const result = await call();
      times[called.has(name) ? name : FIRST].push(performance.now() - beginMs);
      called.add(name);
      return result;
    };
    try {
      const harbor = new HarborStatements(client, (executionId) =>
        arena.redis.sadd(markers, formatIdentity({ executionId, vendor: 'REPLICATION' })),
      );
      // Where the refresh comes only with the loop's next round, or after a backlog.
      const alone = !captured || lastRow !== undefined;
      const refresh = alone ? { refresh: (id: number) => harbor.refresh(id) } : {};
      const lives: Life[] = [];
      for (;;) {
        const nextMs = beginMs + (begun++ * 1_000) / rate;
        await sleep(Math.max(0, nextMs - performance.now()));
        if (ended || performance.now() >= endMs) break;
        lives.push(await liveOneExecution(harbor, { step, ...refresh }));
      }
      return lives;
    } finally {
      await client.end();
    }
  };
  const watchBacklog = async (): Promise<void> => {
    while (!ended && performance.now() < endMs) {
      await sleep(WATCH_MS);
      const [left] = await arena.database.query<{ some: boolean }>(
        'SELECT EXISTS (SELECT FROM tally.outbox WHERE id <= $1) AS some',
        [lastRow],
      );
      ended = left?.some === false;
    }
  };
  const [driven] = await Promise.all([
    Promise.all(Array.from({ length: DRIVERS }, drive)),
    lastRow === undefined ? undefined : watchBacklog(),
    runLoop(),
  ]);
  loop?.mustRun();
  await loop?.stop();
  const lives = driven.flat();
  return { times, lives };
}

/** Records a refresh of each of the first executions. @returns the last row's id */
async function recordBacklog({ database }: Arena, executions: number): Promise<number> {
  const [recorded] = await database.query<{ lastRow: number }>(
    `WITH rows AS (
       INSERT INTO tally.outbox (execution_id, vendor, source)
       SELECT id, vendor_type, 'api' FROM execution WHERE id <= $1 ORDER BY id RETURNING id)
     SELECT max(id) AS "lastRow" FROM rows`,
    [executions],
  );
  return recorded?.lastRow ?? 0;
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
