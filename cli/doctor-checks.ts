import type { Redis } from 'ioredis';
import type { Database } from '../shared/postgres/database.ts';
import { countFailures } from '../shared/postgres/failures.ts';
import { summarizeOutbox } from '../shared/postgres/outbox.ts';
import type { Config } from '../shared/process/config.ts';
import { ok, warning, type Check, type Verdict } from '../shared/process/finding.ts';
import { connectedWorkers } from '../shared/queue/connected-workers.ts';
import type { RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { describeQueue } from './queue-status.ts';

const LATE_S = 60;

/** The checks of the queue's state: workers, pauses, waiting jobs. */
export function queueChecks(queue: RefreshQueue, redis: Redis, config: Config): Check[] {
  return [
    { name: 'workers', look: () => checkWorkers(queue, redis) },
    { name: 'queue', look: () => checkQueue(queue, redis, config) },
  ];
}

/** The checks of what Tally keeps in Postgres. Schema `tally` must be installed. */
export function outboxChecks(database: Database): Check[] {
  return [
    { name: 'outbox', look: () => checkOutbox(database) },
    { name: 'producer', look: () => checkProducer(database) },
    { name: 'failures', look: () => checkFailures(database) },
  ];
}

async function checkWorkers(queue: RefreshQueue, redis: Redis): Promise<Verdict> {
  const workers = await connectedWorkers(queue, redis);
  return workers.length > 0
    ? ok(`${workers.length} connected`)
    : warning('none is connected', 'run: tally worker, with the same REDIS_URL and QUEUE_PREFIX');
}

async function checkQueue(queue: RefreshQueue, redis: Redis, config: Config): Promise<Verdict> {
  const status = await describeQueue(queue, redis, config);
  if (status.queue.paused) return warning('the queue is paused', 'resume it on the dashboard');
  if (status.backlogPaused) {
    return warning('the queue "backlog" is paused', 'resume it on the dashboard');
  }
  const text = `${status.queue.waiting} waiting, ${status.queue.delayed} to be retried`;
  const oldest = status.oldestWaitingSeconds ?? 0;
  if (oldest < LATE_S) return ok(text);
  return warning(
    `${text}; the oldest for ${Math.round(oldest)} s`,
    'run more workers, or see what their logs say',
  );
}

async function checkOutbox(database: Database): Promise<Verdict> {
  const { rows, unsent, oldestSeconds } = await summarizeOutbox(database);
  const text = `${rows} rows, ${unsent} of them unsent`;
  if ((oldestSeconds ?? 0) < LATE_S) return ok(text);
  return warning(
    `${text}; the oldest is ${Math.round(oldestSeconds ?? 0)} s old`,
    'if a backlog is draining or markers wait for their delay, nothing; otherwise see TallyRefreshesLate in docs/operations.md',
  );
}

// Each pass of the reconciler stores its time, whichever producer makes it.
async function checkProducer(database: Database): Promise<Verdict> {
  const [row] = await database.query<{ seconds: number | null }>(
    `SELECT extract(epoch FROM clock_timestamp() - nullif(active_at, '-infinity'))::double precision AS seconds
       FROM tally.reconciler`,
  );
  const seconds = row?.seconds ?? null;
  if (seconds !== null && seconds < 180)
    return ok(`the reconciler was at work ${Math.round(seconds)} s ago`);
  return warning(
    seconds === null
      ? 'no reconciler has ever run'
      : `the reconciler was last at work ${Math.round(seconds)} s ago`,
    'run: tally producer (ignore this if RECONCILE_INTERVAL_MS=0)',
  );
}

async function checkFailures(database: Database): Promise<Verdict> {
  const count = await countFailures(database);
  return count === 0
    ? ok('none needs a person')
    : warning(`${count} need a person`, 'run: tally failed, remove the cause, then: tally retry');
}
