import type { Command } from 'commander';
import { DatabaseError } from 'pg';
import type { StoresConfig } from '../../shared/process/config.ts';
import { explainDatabaseError } from '../../shared/postgres/advice.ts';
import { countBacklog } from '../../shared/postgres/backlog.ts';
import { openDatabase, type Database } from '../../shared/postgres/database.ts';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { TallyError } from '../../shared/errors.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import { summarizeOutbox, type OutboxSummary } from '../../shared/postgres/outbox.ts';
import { schemaProblem } from '../../shared/postgres/schema.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import { waitForRedis } from '../../shared/queue/wait-for-redis.ts';
import { openRefreshQueue } from '../../shared/queue/refresh-queue.ts';
import {
  describeQueue,
  describeWorkers,
  type QueueStatus,
  type WorkerStatus,
} from '../queue-status.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { jsonText } from '../output.ts';
import { printable } from '../../shared/process/printable.ts';

type NullValues<T> = { readonly [Key in keyof T]: T[Key] | null };

interface Status extends NullValues<QueueStatus> {
  readonly outbox: NullValues<OutboxSummary>;
  /** Outbox rows old enough for the backlog lane. */
  readonly backlog: number | null;
  /** Null if they can't be listed. */
  readonly workers: readonly WorkerStatus[] | null;
  /**
   * Executions that failed for good and still need a person, whether or not Redis has
   * their jobs.
   */
  readonly failures: number | null;
  readonly disagreements: number | null;
}

/** Adds `tally status`. */
export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('show outbox, queue, workers and disagreements')
    .option('--json', 'print one JSON document')
    .addOption(dataOption())
    .action(async (options: { json?: true; data: string }) => {
      const config = commandConfig(['DATABASE_URL', 'REDIS_URL'], options.data);
      const { status, problems, refused } = await readStatus(config);
      if (status.outbox.rows === null && status.queue === null) {
        throw new TallyError('ALL_AWAY', problems.join('; '));
      }
      for (const problem of problems) process.stderr.write(`tally: ${problem}\n`);
      if (refused) process.exitCode = 1;
      process.stdout.write(options.json ? `${jsonText(status)}\n` : asText(status));
    });
}

const STANDBY =
  'Postgres is a standby, which only reads: nothing is refreshed through it, and its figures may be late; point DATABASE_URL at the primary';

interface Answer {
  readonly status: Status;
  readonly problems: readonly string[];
  /** Postgres answers but can't be used for this, which won't change by itself. */
  readonly refused: boolean;
}

async function readStatus(config: StoresConfig): Promise<Answer> {
  const log = silentLogger();
  const database = openDatabase(config.DATABASE_URL, log, { connections: 1, name: 'status' });
  const redis = connectRedis(config, 'failFast', log);
  const problems = new Set<string>();
  let refused = false;
  const orNull = async <T>(store: string, read: Promise<T>): Promise<T | null> =>
    read.catch((error: unknown) => {
      if (error instanceof DatabaseError) refused = true;
      if (error instanceof TallyError && error.code === 'NO_SCHEMA') refused = true;
      problems.add(`${store} can't be asked: ${explainDatabaseError(error)}`);
      return null;
    });
  const opened = waitForRedis(redis, 3_000).then(() =>
    openRefreshQueue(config, redis, { readOnly: true }),
  );
  try {
    const [stored, waiting, workers] = await Promise.all([
      orNull('Postgres', readStored(database, config.BACKLOG_AFTER_MS)),
      orNull(
        'Redis',
        opened.then((queue) => describeQueue(queue, redis, config)),
      ),
      // Separately, because the Redis user may not be allowed to list clients.
      orNull(
        'Redis',
        opened.then((queue) => describeWorkers(queue, redis, config)),
      ),
    ]);
    if (stored?.standby === true) problems.add(STANDBY);
    const status: Status = {
      outbox: stored?.outbox ?? { rows: null, unsent: null, oldestSeconds: null },
      backlog: stored?.backlog ?? null,
      backlogPaused: waiting?.backlogPaused ?? null,
      queue: waiting?.queue ?? null,
      workers,
      oldestWaitingSeconds: waiting?.oldestWaitingSeconds ?? null,
      failures: stored?.failures ?? null,
      disagreements: stored?.disagreements ?? null,
    };
    return { status, problems: [...problems], refused };
  } finally {
    redis.disconnect();
    await database.close();
  }
}

interface Stored {
  readonly standby: boolean;
  readonly outbox: OutboxSummary;
  readonly backlog: number;
  readonly failures: number;
  readonly disagreements: number;
}

async function readStored(
  database: Parameters<typeof schemaProblem>[0],
  backlogAfterMs: number,
): Promise<Stored> {
  // Figures from another schema, or from tables of which the role sees only a part, would be
  // silently wrong.
  const problem = await schemaProblem(database);
  if (problem !== undefined) throw new TallyError('NO_SCHEMA', problem);
  const outbox = await summarizeOutbox(database);
  return {
    standby: await isStandby(database),
    outbox,
    backlog: await countBacklog(database, backlogAfterMs, outbox),
    failures: await countFailures(database),
    disagreements: await countDisagreements(database, 'stuck'),
  };
}

async function isStandby(database: Database): Promise<boolean> {
  const [server] = await database.query<{ standby: boolean }>(
    'SELECT pg_is_in_recovery() AS standby',
  );
  return server?.standby === true;
}

function asText(status: Status): string {
  const { outbox, backlog, backlogPaused, queue, workers, failures, disagreements } = status;
  const { oldestWaitingSeconds } = status;
  const show = (value: number | null | undefined): string => (value ?? '?').toString();
  // A dash if nothing waits, a question mark if that isn't known.
  const seconds = (value: number | null, known: boolean): string =>
    value === null ? (known ? '-' : '?') : `${value.toFixed(1)} s`;
  const lines = [
    `outbox         ${outbox.estimated ? 'about ' : ''}${show(outbox.rows)} rows, ${show(outbox.unsent)} unsent, oldest ${seconds(outbox.oldestSeconds, outbox.rows !== null)}`,
    `backlog        ${show(backlog)} rows${backlogPaused ? ', PAUSED' : ''}`,
    `queue          ${show(queue?.waiting)} waiting, ${show(queue?.active)} active, ${show(queue?.delayed)} delayed, ${show(queue?.failed)} failed${queue?.paused ? ', PAUSED' : ''}`,
    `oldest waiting ${seconds(oldestWaitingSeconds, queue !== null)}`,
    `failures       ${show(failures)}${failures ? ' executions need a person: tally failed' : ''}`,
    `disagreements  ${show(disagreements)}`,
    `workers        ${show(workers?.length)}`,
    ...(workers ?? []).map(({ name, active }) => `  ${printable(name)}  ${active} active`),
  ];
  return `${lines.join('\n')}\n`;
}
