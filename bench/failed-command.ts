import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { createFailedJobs } from '../test/support/failed-jobs.ts';
import { loadConfig } from '../shared/process/config.ts';
import { openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import { TallyError } from '../shared/errors.ts';
import { describeMachine } from './machine.ts';
import { largest, processMemory } from './measure.ts';
import { environment, TALLY } from './processes.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, megabytes, number, spread, withSpread } from './table.ts';

const SAMPLE_MS = 20;
const CHUNK = 10_000;
/** What one command of Redis may take; every other client waits that long. */
const BUDGET_MS = 50;

export interface FailedOptions {
  readonly failures: number;
  readonly rounds: number;
}

interface Measured {
  readonly command: string;
  readonly seconds: number;
  readonly peakBytes: number | undefined;
  /** The longest command of Redis, in milliseconds; 0 if none took a millisecond. */
  readonly longestMs: number;
  readonly redisCommands: number;
}

/** How long `tally failed` and `tally retry --all` take with many failures. */
export async function failedReport(
  servers: Servers,
  { failures, rounds }: FailedOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const measured: Measured[] = [];
  for (let round = 1; round <= rounds; round++) {
    progress(`round ${round} of ${rounds}`);
    await servers.withArena({ executions: failures, tasks: 1 }, async (arena) => {
      await fail(arena);
      measured.push(await measure(arena, ['failed']), await measure(arena, ['retry', '--all']));
      await mustWait(arena);
    });
  }
  const rows = ['failed', 'retry --all'].map((name) => {
    const runs = measured.filter((run) => run.command === name);
    const of = (value: (run: Measured) => number | undefined): string =>
      withSpread(spread(runs.map(value)));
    return [
      `\`tally ${name}\``,
      of((run) => run.seconds),
      of((run) => run.redisCommands / failures),
      of((run) => run.longestMs),
      megabytes(largest(runs.map((run) => run.peakBytes))),
    ];
  });
  const header = ['command', 'seconds', 'Redis commands each', 'longest command, ms', 'memory, MB'];
  const conditions =
    `${number(failures)} executions that failed for good, each with its record and its failed job; ` +
    `${rounds} rounds. The budget of a command is ${BUDGET_MS} ms. Afterwards each waited once and none was failed.`;
  return {
    command,
    machine,
    text: `${markdownTable(header, rows)}\n\n${conditions}`,
    data: measured,
  };
}

/** Every execution has failed for good, as the worker records it and as BullMQ keeps it. */
async function fail(arena: Arena): Promise<void> {
  const config = loadConfig([], environment(arena, {}));
  const queue = openRefreshQueue(config, arena.redis);
  for (let after = 0; after < arena.executions; after += CHUNK) {
    const made = await arena.database.query<{
      jobId: string;
      executionId: number;
      vendor: string;
      error: string;
    }>(
      `INSERT INTO tally.failure (job_id, execution_id, vendor, error, sqlstate, attempts, times, first_failed_at)
       SELECT format('%s:%s:%s', id, vendor_type, left(md5(id::text), 8)), id, vendor_type,
              CASE id % 4 WHEN 0 THEN format('quota of project %s is used up', id)
                          WHEN 1 THEN 'canceling statement due to statement timeout'
                          WHEN 2 THEN format('duplicate key value violates unique constraint "one_%s"', id % 9)
                          ELSE format('Key (id)=(%s) is still referenced from table "report"', id) END,
              'P0001', 5, 1, clock_timestamp()
         FROM execution WHERE id > $1 AND id <= $1 + $2
       RETURNING job_id AS "jobId", execution_id AS "executionId", vendor, error`,
      [after, CHUNK],
    );
    await createFailedJobs(
      { queue, redis: arena.redis },
      made.map(({ jobId, error, executionId, vendor }) => ({
        jobId,
        error,
        data: { executionId, vendor },
      })),
    );
  }
  await queue.close();
}

async function measure(arena: Arena, args: readonly string[]): Promise<Measured> {
  await arena.redis.config('SET', 'slowlog-log-slower-than', '1000');
  await arena.redis.call('SLOWLOG', 'RESET');
  await arena.redis.config('RESETSTAT');
  const beginMs = performance.now();
  const child = spawn(process.execPath, [TALLY, ...args, '--json'], {
    env: environment(arena, {}),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let peakBytes: number | undefined;
  const sampler = setInterval(() => {
    peakBytes = largest([peakBytes, processMemory(child.pid ?? 0, 'peak')]);
  }, SAMPLE_MS);
  const [problem, [code]] = await Promise.all([
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]).finally(() => clearInterval(sampler));
  const seconds = (performance.now() - beginMs) / 1000;
  if (code !== 0) throw new TallyError('BENCH_PROCESS', `tally ${args.join(' ')}: ${problem}`);
  const slow = (await arena.redis.call('SLOWLOG', 'GET', '-1')) as [number, number, number][];
  const stats = await arena.redis.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_\S+?:calls=(\d+)/gm)].map((m) => Number(m[1]));
  return {
    command: args.join(' '),
    seconds,
    peakBytes,
    longestMs: Math.max(0, ...slow.map(([, , microseconds]) => microseconds / 1_000)),
    redisCommands: calls.reduce((sum, count) => sum + count, 0),
  };
}

/** @throws TallyError unless every execution waits once and none is failed */
async function mustWait({ redis, executions }: Arena): Promise<void> {
  const [waiting, failed] = await Promise.all([
    redis.llen('bench:refresh:wait'),
    redis.zcard('bench:refresh:failed'),
  ]);
  if (waiting === executions && failed === 0) return;
  throw new TallyError('BENCH_WRONG', `${waiting} wait and ${failed} are failed afterwards`);
}
