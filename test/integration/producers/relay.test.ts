import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { OutboxRelay } from '../../../producers/outbox-relay.ts';
import { probeCommit } from '../../../shared/postgres/commit-probe.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { createLogger } from '../../../shared/process/logger.ts';
import {
  enqueueRefreshes,
  relayMarkerKey,
  type RefreshQueue,
} from '../../../shared/queue/refresh-queue.ts';
import {
  countByRevision,
  createExecution,
  createExecutions,
  readExecution,
  refreshesOf,
  untilOutboxIsEmpty,
} from '../../support/executions.ts';
import { openBacklogQueue } from '../../../shared/queue/backlog-queue.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { controlClock } from '../../support/process-clock.ts';
import { startProducer } from '../../support/processes.ts';
import { sabotage } from '../../support/sabotage.ts';
import { createStores, silent } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';
import { withMethod } from '../../support/with-method.ts';
import { injectFault } from '../../support/fault.ts';

// Without the backlog lane, so that whatever a relay sends is a job of its own.
const stores = await createStores({ settings: { QUEUE_HIGH_WATER: '2000', BACKLOG_JOBS: '0' } });
const { database, queue, redis, config, environment } = stores;

const backlogQueue = openBacklogQueue(config, redis);
const probe = () => probeCommit(config.DATABASE_URL, 'rows');
const newRelay = (changes: Partial<ConstructorParameters<typeof OutboxRelay>[0]> = {}) =>
  new OutboxRelay({
    config,
    database,
    redis,
    queue,
    backlogQueue,
    probe,
    log: silent,
    ...changes,
  });
const unsentRows = async (): Promise<number> => {
  const [row] = await database.query<{ count: number }>(
    'SELECT count(*) AS count FROM tally.outbox WHERE sent_at IS NULL',
  );
  return row?.count ?? 0;
};

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox');
});

describe('the relay', () => {
  it('stops at the high-water mark with flat memory while no worker runs, and drains when one does', async () => {
    const ids = await createExecutions(database, 10_000, []);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    const producer = await startProducer(environment);
    await producer.said('the queue is at its high-water mark of 2000 jobs');
    expect(await queue.getWaitingCount()).toBe(2_000);
    const before = residentBytes(producer.pid);
    // Some 200 more looks at a full queue.
    const commands = await commandsProcessed();
    await until('the relay to poll on', async () => (await commandsProcessed()) - commands > 400);
    expect(await queue.getWaitingCount()).toBe(2_000);
    expect(residentBytes(producer.pid) - before).toBeLessThan(30_000_000);
    await openWorker(environment);
    await openWorker(environment);
    await untilOutboxIsEmpty(database, 60_000);
  });

  it('takes rows beside another relay that is sending, and nothing is refreshed twice', async () => {
    const ids = await createExecutions(database, 5_000);
    const sent = [0, 0];
    const areSending = () => sent.every((jobs) => jobs > 0);
    const lines: string[] = [];
    const log = createLogger(config, 'producer', (line) => lines.push(line));
    for (const [which] of sent.entries()) {
      // Each holds its first rows until the other has some, too.
      const addBulk: RefreshQueue['addBulk'] = async (jobs) => {
        sent[which] = (sent[which] ?? 0) + jobs.length;
        await until('the other relay to have rows', areSending);
        return queue.addBulk(jobs);
      };
      const relay = newRelay({ log, queue: withMethod(queue, { addBulk }) });
      onTestFinished(() => relay.close());
      relay.start();
    }
    await until('both to have begun', () => {
      return lines.filter((line) => line.includes('sending outbox rows')).length === 2;
    });
    // Not before: each sends again what had been sent before it started.
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await openWorker(environment);
    await untilOutboxIsEmpty(database);
    expect(await countByRevision(database, ids)).toEqual({ 1: 5_000 });
    expect(sent.reduce((sum, jobs) => sum + jobs, 0)).toBe(5_000);
  });

  it('a producer killed again and again loses nothing', async () => {
    const ids = await createExecutions(database, 20_000);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await openWorker(environment);
    for (let kills = 0; kills < 3; kills++) {
      const producer = await startProducer(environment);
      const left = await unsentRows();
      await until('it to send some', async () => (await unsentRows()) < Math.max(left, 1));
      producer.kill('SIGKILL');
      await producer.ended;
    }
    await openProducer(environment);
    await untilOutboxIsEmpty(database);
    const byRevision = await countByRevision(database, ids);
    expect(byRevision[0]).toBeUndefined();
  });

  it('rows that a relay had claimed but not sent when it died are sent at the next start', async () => {
    const ids = await createExecutions(database, 100);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await database.query('UPDATE tally.outbox SET sent_at = clock_timestamp()');
    const relay = newRelay();
    relay.start();
    await until('the queue to have them', async () => (await queue.getWaitingCount()) === 100);
    await relay.close();
  });

  it('rows can be deleted as soon as their jobs are on the queue', async () => {
    const ids = await createExecutions(database, 50);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    let tell: (rows: number) => void = () => undefined;
    const deletable = new Promise<number>((resolve) => {
      tell = resolve;
    });
    const addBulk: RefreshQueue['addBulk'] = async (jobs) => {
      const added = await queue.addBulk(jobs);
      // The worker is faster than the relay: it refreshes before addBulk has returned.
      const rows = await database.query(
        'SELECT FROM tally.outbox WHERE execution_id = ANY ($1) FOR UPDATE SKIP LOCKED',
        [ids],
      );
      tell(rows.length);
      return added;
    };
    const relay = newRelay({ queue: withMethod(queue, { addBulk }) });
    relay.start();
    expect(await deletable).toBe(50);
    await relay.close();
  });

  it('an identity that changes constantly is sent four times a second, not with every change', async () => {
    const id = await createExecution(database);
    await openProducer(environment);
    await openWorker(environment);
    const begin = performance.now();
    let changes = 0;
    await until('five refreshes and many more changes', async () => {
      await recordRefreshes(database, refreshesOf([id]), 'api');
      changes++;
      return changes > 50 && ((await readExecution(database, id)).revision ?? 0) >= 5;
    });
    await untilOutboxIsEmpty(database);
    const seconds = (performance.now() - begin) / 1_000;
    const [refreshes] = Object.keys(await countByRevision(database, [id])).map(Number);
    expect(refreshes).toBeLessThanOrEqual(4 * seconds + 2);
  });

  it("rows that aren't due yet stay, and don't hold up those that are", async () => {
    const [now = 0, later = 0] = await createExecutions(database, 2);
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
       VALUES ($1, 'REPLICATION', 'marker', now() + interval '1 hour'), ($2, 'REPLICATION', 'marker', now())`,
      [later, now],
    );
    const relay = newRelay();
    relay.start();
    await until('the due one to be sent', async () => (await queue.getWaitingCount()) === 1);
    await relay.close();
    const [job] = await queue.getWaiting();
    expect(job?.data.executionId).toBe(now);
    expect(await unsentRows()).toBe(1);
  });

  it('rows whose jobs were lost are sent again after RESEND_AFTER_MS', async () => {
    const ids = await createExecutions(database, 10);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    const relay = newRelay({ config: { ...config, RESEND_AFTER_MS: 500 } });
    relay.start();
    await until('all to be sent', async () => (await queue.getWaitingCount()) === 10);
    await queue.drain();
    await until('all to be sent again', async () => (await queue.getWaitingCount()) === 10);
    await relay.close();
  });

  it('after a loss of Redis, sent rows are sent again in pages beside new ones', async () => {
    const fault = injectFault(
      38,
      '2,500 sent rows and the loss of Redis, with a trigger that cancels what changes more than a page',
    );
    const ids = Array.from({ length: 2_500 }, (_, n) => n + 1);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    await database.query('UPDATE tally.outbox SET sent_at = clock_timestamp()');
    // Cancels what changes more than a page, as the time limit does where a page is millions.
    await sabotage(
      database,
      `IF (SELECT count(*) FROM changed) > 1000 THEN RAISE EXCEPTION 'more than a page'; END IF`,
      { event: 'AFTER UPDATE ON tally.outbox REFERENCING NEW TABLE AS changed', each: 'STATEMENT' },
    );
    const relay = newRelay({ config: { ...config, QUEUE_HIGH_WATER: 100_000 } });
    relay.start();
    onTestFinished(() => relay.close());
    await recordRefreshes(database, refreshesOf([2_501]), 'api');
    await until('all to be sent', async () => (await queue.getWaitingCount()) === 2_501);
    // In this order: a relay that missed its marker while the jobs were there would have nothing to send again later.
    await queue.obliterate({ force: true });
    await redis.del(relayMarkerKey(config));
    fault.over();
    await until('all to be sent again', async () => (await queue.getWaitingCount()) === 2_501);
    fault.recovered();
    await until(
      'the loss to be over',
      async () => (await redis.get(relayMarkerKey(config))) === '1',
    );
  });

  it('rows whose jobs Redis refuses are unsent again', async () => {
    const ids = await createExecutions(database, 50);
    await recordRefreshes(database, refreshesOf(ids), 'api');
    let refuse: (reason?: unknown) => void = () => undefined;
    const refused = new Promise((resolve) => {
      refuse = resolve;
    });
    const addBulk: RefreshQueue['addBulk'] = async () => {
      refuse();
      throw new Error('OOM command not allowed');
    };
    const relay = newRelay({ queue: withMethod(queue, { addBulk }) });
    relay.start();
    await refused;
    // It finishes the turn in hand.
    await relay.close();
    expect(await unsentRows()).toBe(50);
  });

  it('a relay that was held up for minutes goes on at once', async () => {
    const holdUp = controlClock();
    let looks = 0;
    let notice: (reason?: unknown) => void = () => undefined;
    const held = new Promise((resolve) => {
      notice = resolve;
    });
    const getJobCounts: RefreshQueue['getJobCounts'] = async (...states) => {
      const counts = await queue.getJobCounts(...states);
      if (++looks === 3) {
        holdUp(600_000);
        notice();
      }
      return counts;
    };
    const relay = newRelay({ queue: withMethod(queue, { getJobCounts }) });
    onTestFinished(() => relay.close());
    relay.start();
    await held;
    await until('it to look again', () => looks > 3);
  });

  it('an enqueue in chunks puts every identity on the queue', async () => {
    await enqueueRefreshes(queue, refreshesOf(Array.from({ length: 2_500 }, (_, n) => n + 1)));
    expect(await queue.getWaitingCount()).toBe(2_500);
  });
});

function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

async function commandsProcessed(): Promise<number> {
  const info = await redis.info('stats');
  return Number(/total_commands_processed:(\d+)/.exec(info)?.[1]);
}
