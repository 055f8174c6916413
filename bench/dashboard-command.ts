import { setTimeout as sleep } from 'node:timers/promises';
import { describeMachine } from './machine.ts';
import { loadBadDay, type Load } from './dashboard-load.ts';
import { processMemory } from './measure.ts';
import { startTally, type MeasuredProcess } from './processes.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, megabytes, number, spread } from './table.ts';

export interface DashboardOptions extends Load {
  readonly executions: number;
  readonly tasks: number;
  readonly rounds: number;
}

/** What is promised for this much. */
const LIMITS = { pageMs: 500, statementMs: 500, commandMs: 50 };
// So many people look at once.
const VIEWERS = 8;
const POLL_MS = 100;
// No page: it ends when the last job is on the queue again.
const RETRIED_ALL = 'until all are retried';

interface Measured {
  readonly page: string;
  readonly status: number;
  /** Of each request, the first included. */
  readonly ms: readonly number[];
  /** The slowest statement and command meanwhile; the failed-janitor's count, too. */
  readonly statementMs: number | undefined;
  readonly statement: string;
  readonly commandMs: number;
  readonly command: string;
}

/** What every page takes with much in the stores, and what it asks of them. */
export async function dashboardReport(
  servers: Servers,
  options: DashboardOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  progress(`loading ${options.executions} executions`);
  const result = await servers.withArena(options, (arena) => measureAll(arena, options));
  const rows = result.measured.map(({ page, status, ms, ...most }) => {
    const times = spread(ms);
    return [
      page,
      String(status),
      number(times?.median),
      page === RETRIED_ALL ? number(times?.max) : over(times?.max, LIMITS.pageMs),
      over(most.statementMs, LIMITS.statementMs),
      over(most.commandMs, LIMITS.commandMs),
    ];
  });
  const header = ['request', 'status', 'median ms', 'most ms', 'SQL ms', 'Redis ms'];
  const { before, after } = result.memory;
  const text =
    `${markdownTable(header, rows)}\n\n${number(options.executions)} executions of ${options.tasks} tasks, ` +
    `${number(options.waiting)} jobs waiting and as many rows in the outbox alone, ${number(options.failed)} failed. ` +
    `${options.rounds} requests of each; SQL and Redis are the longest statement and command meanwhile. ` +
    `An exclamation mark is over ${LIMITS.pageMs} ms, ${LIMITS.statementMs} ms or ${LIMITS.commandMs} ms. ` +
    `The dashboard had ${megabytes(before)} MB before and ${megabytes(after)} MB at most.`;
  return { command, machine, text, data: { options, ...result } };
}

async function measureAll(
  arena: Arena,
  options: DashboardOptions,
): Promise<{ measured: Measured[]; memory: { before?: number; after?: number } }> {
  const day = await loadBadDay(arena, options);
  const dashboard = await startTally('dashboard', arena);
  // Takes no jobs, since the queue is paused; its failed-janitor compares all failures.
  const worker = await startTally('worker', arena, { WORKER_PORT: '0' });
  const url = /http:\S+/.exec(dashboard.readyLine)?.[0].replace(/".*/, '') ?? '';
  const before = processMemory(dashboard.pid, 'peak');
  const measured: Measured[] = [];
  const run = async (page: string, count: number, ask: () => Promise<number>): Promise<void> => {
    progress(page);
    measured.push(await measure(arena, page, count, ask));
    for (const process of [dashboard, worker]) process.mustRun();
  };
  for (const [page, path] of Object.entries(await pagesOf(day, options))) {
    await run(page, options.rounds, () => get(`${url}${path}`));
  }
  await run(`overview, ${VIEWERS} at once`, options.rounds, async () => {
    const all = await Promise.all(Array.from({ length: VIEWERS }, () => get(`${url}/`)));
    return Math.max(...all);
  });
  await run('board, retry all', 1, async () => {
    const response = await fetch(`${url}/board/api/queues/refresh/retry/failed`, { method: 'PUT' });
    return response.status;
  });
  await run(RETRIED_ALL, 1, async () => {
    for (;;) {
      const response = await fetch(`${url}/failures`);
      const text = await response.text();
      if (text.includes('<strong>It ended early')) throw new Error('not all were retried');
      if (text.includes('<strong>Done.</strong>')) return response.status;
      await sleep(POLL_MS);
    }
  });
  const after = processMemory(dashboard.pid, 'peak');
  await day.close();
  await stopAll([dashboard, worker]);
  return {
    measured,
    memory: {
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
    },
  };
}

/** Every kind of page, also as somebody would ask who wants too much. */
async function pagesOf(
  { queue }: Awaited<ReturnType<typeof loadBadDay>>,
  { failed, waiting, executions }: DashboardOptions,
): Promise<Record<string, string>> {
  const list = (query: string): string => `/board/api/queues?activeQueue=refresh&${query}`;
  const middle = async (state: 'waiting' | 'failed', count: number): Promise<string> => {
    const [job] = await queue.getJobs([state], Math.floor(count / 2), Math.floor(count / 2));
    return `/board/api/queues/refresh/${encodeURIComponent(String(job?.id))}`;
  };
  return {
    overview: '/',
    'overview, a day': '/?range=24h',
    ...Object.fromEntries(
      ['all', 'stuck', 'failed', 'by-hand', 'running', 'final'].map((state) => [
        `executions, ${state}`,
        `/executions?state=${state}`,
      ]),
    ),
    'executions, a vendor that is none': '/executions?vendor=none',
    'execution that is right': `/executions/${executions}`,
    'execution that waits': `/executions/${failed + 1}`,
    'execution that has failed': '/executions/1',
    'all failures': '/failures',
    metrics: '/metrics',
    readiness: '/readyz',
    'board, all queues': '/board/api/queues',
    ...Object.fromEntries(
      ['latest', 'waiting', 'active', 'delayed', 'failed', 'completed'].map((status) => [
        `board, ${status}`,
        list(`status=${status}&page=1&jobsPerPage=100`),
      ]),
    ),
    'board, waiting, last page': list(
      `status=waiting&page=${Math.ceil(waiting / 100)}&jobsPerPage=100`,
    ),
    'board, failed, last page': list(
      `status=failed&page=${Math.ceil(failed / 100)}&jobsPerPage=100`,
    ),
    'board, 100,000 a page': list('status=waiting&page=1&jobsPerPage=100000'),
    'board, a job that waits': await middle('waiting', waiting),
    'board, a job that has failed': await middle('failed', failed),
  };
}

async function get(url: string): Promise<number> {
  const response = await fetch(url);
  await response.arrayBuffer();
  return response.status;
}

async function measure(
  { database, redis }: Arena,
  page: string,
  count: number,
  ask: () => Promise<number>,
): Promise<Measured> {
  await database.query('SELECT pg_stat_statements_reset()').catch(() => undefined);
  await redis.config('SET', 'slowlog-log-slower-than', '1000');
  await redis.slowlog('RESET');
  const ms: number[] = [];
  let status = 0;
  for (let n = 0; n < count; n++) {
    const beginMs = performance.now();
    status = Math.max(status, await ask());
    ms.push(performance.now() - beginMs);
  }
  const slow = (await redis.slowlog('GET', 128)) as [number, number, number, string[]][];
  const slowest = slow.toSorted((a, b) => b[2] - a[2])[0];
  const [statement] = await database
    .query<{ ms: number; query: string }>(
      `SELECT max_exec_time AS ms, query FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
        ORDER BY max_exec_time DESC LIMIT 1`,
    )
    .catch(() => []);
  return {
    page,
    status,
    ms,
    statementMs: statement?.ms,
    statement: statement?.query ?? '',
    commandMs: (slowest?.[2] ?? 0) / 1_000,
    command: (slowest?.[3] ?? []).join(' ').slice(0, 200),
  };
}

function over(value: number | undefined, limit: number): string {
  return `${number(value)}${value !== undefined && value > limit ? ' !' : ''}`;
}

async function stopAll(processes: readonly MeasuredProcess[]): Promise<void> {
  await Promise.all(processes.map((process) => process.stop()));
}
