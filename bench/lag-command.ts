import { setTimeout as delay } from 'node:timers/promises';
import { countDisagreements } from '../shared/postgres/disagreements.ts';
import { configOf } from './contenders/tally.ts';
import { graphileWorker, harbor, tally, type Keeper } from './keepers.ts';
import {
  databaseTimeS,
  matchChanges,
  readLag,
  recordRefreshTimes,
  type Lag,
  type LagFilter,
} from './lag-record.ts';
import { describeMachine } from './machine.ts';
import { installPackages } from './packages.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, number } from './table.ts';
import { changeTasks, readTasks } from './task-changes.ts';

const TASKS = 7;
// A process that was just started runs code that isn't compiled yet, several times as slow.
const WARM_UP_S = 10;

export interface LagOptions {
  readonly executions: number;
  readonly rate: number;
  readonly seconds: number;
  readonly backlog: number;
  readonly interval: number;
  readonly only?: string;
}

interface Measured {
  readonly title: string;
  readonly lag: Lag;
  readonly reachedPerSecond: number;
  readonly disagreements: number;
}

/** How late refreshes are while tasks change at an even pace, at rest and beside a backlog. */
export async function lagReport(
  servers: Servers,
  options: LagOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const measured: Measured[] = [];
  const keepers = [tally, graphileWorker, harbor(options.interval * 1000)].filter(
    ({ name }) => options.only === undefined || options.only === name,
  );
  if (keepers.includes(graphileWorker)) installPackages();
  for (const keeper of keepers) {
    for (const backlog of keeper.addBacklog === undefined ? [0] : [0, options.backlog]) {
      const size = { executions: options.executions + backlog, tasks: TASKS };
      const run = (arena: Arena): Promise<Measured[]> => measure(keeper, arena, options, backlog);
      measured.push(...(await servers.withArena(size, run)));
      await servers.forget(size);
    }
  }
  return { command, machine, text: `${table(measured)}\n\n${conditions(options)}`, data: measured };
}

async function measure(
  keeper: Keeper,
  arena: Arena,
  options: LagOptions,
  backlog: number,
): Promise<Measured[]> {
  const { executions } = options;
  progress(`${keeper.name}, ${backlog === 0 ? 'at rest' : `beside ${backlog} waiting`}`);
  await refreshAll(arena, executions);
  await recordRefreshTimes(arena);
  const tasks = await readTasks(arena, executions);
  const processes = await keeper.start(arena);
  try {
    const beforeChange = keeper.beforeChange(arena);
    const { rate, seconds } = options;
    const [reachedPerSecond, warmAtS] = await Promise.all([
      changeTasks(arena, tasks, {
        rate,
        seconds: WARM_UP_S + seconds,
        ...(beforeChange === undefined ? {} : { beforeChange }),
      }),
      delay(WARM_UP_S * 1000).then(async () => {
        if (backlog > 0) await keeper.addBacklog?.(arena, executions);
        return await databaseTimeS(arena);
      }),
    ]);
    await keeper.settled(arena);
    await matchChanges(arena, executions, warmAtS);
    const disagreements = await countDisagreements(arena.database, 'outOfDate');
    const row = async (title: string, filter: Partial<LagFilter>): Promise<Measured> => ({
      title,
      lag: await readLag(arena, {
        warmUp: false,
        duringBacklog: backlog > 0,
        notSentWithinMs: -1,
        ...filter,
      }),
      reachedPerSecond,
      disagreements,
    });
    const when = backlog > 0 ? 'while a backlog drains' : 'at rest';
    const rows = [await row(`${keeper.title}, ${when}`, {})];
    if (keeper === tally) {
      const pauseMs = configOf(arena.redisUrl).REFRESH_INTERVAL_MS;
      rows.push(
        await row(`– of executions not sent in the ${pauseMs} ms before`, {
          notSentWithinMs: pauseMs,
        }),
      );
      if (backlog === 0) {
        rows.push(
          await row(`– in the ${WARM_UP_S} s before, its processes just started`, { warmUp: true }),
        );
      }
    }
    return rows;
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
  }
}

/** Brings executions up to date before it begins: what is wrong afterwards, a change was lost for. */
async function refreshAll(arena: Arena, executions: number): Promise<void> {
  await arena.database.query(
    `SELECT count(*) FROM tally.refresh_executions(ARRAY(SELECT generate_series(1, $1::bigint)))`,
    [executions],
  );
}

function table(measured: readonly Measured[]): string {
  const header = ['commit → refreshed', 'changes', 'changes/s', 'p50 ms', 'p95 ms', 'p99 ms'];
  header.push('max ms', 'never', 'wrong');
  const rows = measured.map(({ title, lag, reachedPerSecond, disagreements }) => [
    title,
    number(lag.changes),
    number(reachedPerSecond),
    ...[lag.p50, lag.p95, lag.p99, lag.max].map(number),
    number(lag.never),
    number(disagreements),
  ]);
  return markdownTable(header, rows);
}

function conditions({ rate, seconds, executions, backlog }: LagOptions): string {
  return (
    `${number(rate)} task changes a second for ${seconds} s over ${number(executions)} executions of ${TASKS} tasks, ` +
    `each in a transaction of its own, after ${WARM_UP_S} s of the same; the backlog is ${number(backlog)} other executions, recorded then. ` +
    'Both moments are commit times of Postgres.'
  );
}
