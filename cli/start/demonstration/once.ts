import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../../../shared/postgres/database.ts';
import { countDisagreements } from '../../../shared/postgres/disagreements.ts';
import { summarizeOutbox } from '../../../shared/postgres/outbox.ts';
import { countJobs, type RefreshQueue } from '../../../shared/queue/refresh-queue.ts';

const POLL_MS = 100;
const STATEMENTS = `
  SELECT coalesce(sum(calls) FILTER (WHERE query ~ 'tally\\.refresh_(executions|backlog)\\('), 0)::bigint AS refresh,
         coalesce(sum(calls) FILTER (WHERE query LIKE '%UPDATE tally.outbox%'), 0)::bigint AS relay
    FROM pg_stat_statements
   WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`;

interface Statements {
  readonly refresh: number;
  readonly relay: number;
}

interface Parts {
  readonly database: Database;
  readonly queue: RefreshQueue;
  readonly say: (line: string) => void;
}

/**
 * Notes what was refreshed so far. Call it right before the processes start, or their first
 * refreshes don't count.
 * @returns a function that waits until everything recorded is refreshed, and prints what it took.
 * It resolves with the exit code: 0 only if every stored status is what its tasks say
 * @throws an error from `pg`; the function also one from `ioredis`
 */
export async function measureDrain(parts: Parts): Promise<() => Promise<number>> {
  const statements = await readStatements(parts.database);
  const revisions = await sumRevisions(parts.database);
  const atMs = performance.now();
  return () => drain(parts, { statements, revisions, atMs });
}

async function drain(
  { database, queue, say }: Parts,
  before: {
    readonly statements: Statements | undefined;
    readonly revisions: number;
    readonly atMs: number;
  },
): Promise<number> {
  for (;;) {
    const [outbox, jobs] = await Promise.all([summarizeOutbox(database), countJobs(queue)]);
    // A job that failed for good has no outbox row; its execution counts as out of date below.
    if (outbox.rows === 0 && jobs.waiting + jobs.active + jobs.delayed === 0) break;
    await delay(POLL_MS);
  }
  const seconds = (performance.now() - before.atMs) / 1000;
  const refreshed = (await sumRevisions(database)) - before.revisions;
  const [disagreements, outOfDate] = await Promise.all([
    countDisagreements(database, 'stuck'),
    countDisagreements(database, 'outOfDate'),
  ]);
  const statements = await readStatements(database);
  say(
    `Refreshed ${refreshed} executions in ${seconds.toFixed(1)} s (${Math.round(refreshed / seconds)}/s, start of the processes included).`,
  );
  if (statements !== undefined && before.statements !== undefined) {
    const refresh = statements.refresh - before.statements.refresh;
    const relay = statements.relay - before.statements.relay;
    const each = (count: number): string => (count / Math.max(refreshed, 1)).toFixed(4);
    say(
      `SQL statements: ${refresh} refreshing (${each(refresh)} a refresh), ${relay} of the relay.`,
    );
  } else {
    say('SQL statements: not counted, this Postgres has no pg_stat_statements.');
  }
  say(`Disagreements left: ${disagreements}.`);
  say(`Out of date, for whatever reason: ${outOfDate}.`);
  return disagreements + outOfDate === 0 ? 0 : 1;
}

// Every refresh raises its execution's revision by one, so their sum counts refreshes.
async function sumRevisions(database: Database): Promise<number> {
  const [sum] = await database.query<{ revisions: number }>(
    `SELECT coalesce(sum(revision), 0)::bigint AS revisions FROM execution`,
  );
  return sum?.revisions ?? 0;
}

async function readStatements(database: Database): Promise<Statements | undefined> {
  try {
    await database.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public');
    const [statements] = await database.query<Statements & Record<string, unknown>>(STATEMENTS);
    return statements;
  } catch {
    return undefined;
  }
}
