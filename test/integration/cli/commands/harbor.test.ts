import { UnrecoverableError, Worker } from 'bullmq';
import { beforeEach, describe, expect, it } from 'vitest';
import { describeExport, exportRefreshes } from '../../../../shared/harbor/export.ts';
import { countFailures, recordFailure } from '../../../../shared/postgres/failures.ts';
import { recordRefreshes } from '../../../../shared/postgres/outbox.ts';
import { enqueueRefreshes } from '../../../../shared/queue/refresh-queue.ts';
import { outboxRows, refreshOf, refreshesOf } from '../../../support/executions.ts';
import { openProducer } from '../../../support/in-process.ts';
import {
  keyOf,
  markByKeys,
  markedIds,
  markInSet,
  memberOf,
  newHarborRedis,
  range,
} from '../../../support/markers.ts';
import { runTally } from '../../../support/processes.ts';
import { createStores, openClient } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const { url: harborUrl, redis: harbor } = await newHarborRedis();
const { database, queue, redis, environment } = await createStores({
  settings: {
    HARBOR_REDIS_URL: harborUrl,
    HARBOR_MARKER_DELAY_MS: '0',
  },
});

beforeEach(async () => {
  await harbor.flushdb();
  await queue.obliterate({ force: true });
  await queue.resume();
  await database.query('TRUNCATE tally.outbox, tally.failure');
});

/** Puts jobs of these executions into the state failed, as workers do at the last attempt. */
async function failJobs(ids: readonly number[]): Promise<void> {
  await enqueueRefreshes(queue, refreshesOf(ids));
  const worker = new Worker(
    queue.name,
    () => Promise.reject(new UnrecoverableError('a constraint')),
    {
      connection: redis.duplicate({ maxRetriesPerRequest: null }),
      prefix: queue.opts.prefix ?? '',
    },
  );
  worker.on('error', () => undefined);
  await until('the jobs to fail', async () => (await queue.getFailedCount()) === ids.length);
  await worker.close();
}

const bar = { total: () => undefined, at: () => undefined };
const exportHere = (format: 'set' | 'keys') =>
  exportRefreshes({ session: database, harbor, queue, format, bar });

async function recorded(): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    'SELECT DISTINCT execution_id AS id FROM tally.outbox ORDER BY id',
  );
  return rows.map(({ id }) => id);
}

describe('tally harbor import', () => {
  it('records a refresh for each marker of both formats, including those of a killed intake, and ends', async () => {
    await markInSet(harbor, range(1, 1_500));
    await harbor.rename('execution:status_outdate', 'tally:taken:execution:status_outdate');
    await markInSet(harbor, range(1_501, 10));
    await markByKeys(harbor, range(1_511, 1_500));
    await harbor.sadd('execution:status_outdate', 'nonsense', 'more:nonsense');
    const { code, output } = await runTally(['harbor', 'import'], environment);
    expect({ code, output }).toEqual({
      code: 0,
      output: 'imported 3010 markers, 2 malformed dropped',
    });
    expect(await recorded()).toEqual(range(1, 3_010));
    expect(await harbor.dbsize()).toBe(0);
  });

  it('refuses, in one line, while a producer takes them in; the producer goes on', async () => {
    const producer = await openProducer(environment);
    await producer.said("taking in Harbor's markers");
    const { code, output } = await runTally(['harbor', 'import'], environment);
    expect(code).toBe(1);
    expect(output).toMatch(/^tally: another process takes in Harbor's markers: .* stop it .*$/);
  });

  it.each([
    [{ HARBOR_REDIS_URL: '' }, 2, 'HARBOR_REDIS_URL is not set'],
    [
      { HARBOR_REDIS_URL: 'redis+sentinel://:hunter2secret@127.0.0.1:1,127.0.0.1:2/mymaster/0' },
      1,
      "Redis at 127.0.0.1:1, 127.0.0.1:2 (master mymaster) can't be used: ",
    ],
    [
      { DATABASE_URL: 'postgres://tally:hunter2secret@127.0.0.1:1/tally' },
      1,
      'DATABASE_URL and that the server runs',
    ],
  ])(
    'called with %j exits with %i and one line that says what to do',
    async (settings, code, text) => {
      const result = await runTally(['harbor', 'import'], { ...environment, ...settings });
      expect(result.code).toBe(code);
      expect(result.output.split('\n')).toHaveLength(1);
      expect(result.output).toContain(text);
      expect(result.output).not.toContain('hunter2secret');
    },
  );
});

describe('tally harbor export', () => {
  it.each(['set', 'keys'] as const)(
    'followed by an import (%s) loses nothing of outbox, queue or a killed intake',
    async (format) => {
      await failJobs(range(1, 20));
      await database.query(
        `INSERT INTO tally.failure (job_id, execution_id, vendor)
         SELECT id, 1, 'REPLICATION' FROM unnest($1::text[]) AS id`,
        [(await queue.getFailed()).map((job) => job.id)],
      );
      await enqueueRefreshes(queue, refreshesOf(range(21, 1_500)));
      for (const job of await queue.getWaiting(0, 9)) await job.changePriority({ priority: 5 });
      await queue.add('refresh', refreshOf(1_521), { delay: 600_000 });
      await recordRefreshes(database, refreshesOf(range(1_522, 2_500)), 'capture');
      await recordRefreshes(database, refreshesOf(range(4_022, 10)), 'marker', 600_000);
      await harbor.sadd('tally:taken:execution:status_outdate', memberOf(4_032), 'nonsense');
      const { code, output } = await runTally(
        ['harbor', 'export', '--format', format],
        environment,
      );
      expect({ code, output }).toEqual({
        code: 0,
        output: `exported 4032 refreshes as markers (format ${format}): 2510 from the outbox, 1521 from the queue, 1 that an intake had left`,
      });
      expect(await markedIds(harbor)).toEqual(range(1, 4_032));
      expect(await outboxRows(database)).toBe(0);
      expect(await queue.getJobCounts()).toMatchObject({ waiting: 0, delayed: 0, failed: 0 });
      expect(await database.query('SELECT FROM tally.failure')).toEqual([]);
      // A key that is left would make the queue drop the next job of its execution.
      expect(await redis.keys(`${environment['QUEUE_PREFIX']}:refresh:de:*`)).toEqual([]);
      if (format === 'keys') {
        expect(await harbor.getBuffer(keyOf(1))).toEqual(Buffer.from([0xa0]));
        expect(await harbor.ttl(keyOf(1))).toBe(-1);
        expect(await harbor.dbsize()).toBe(4_032);
      } else {
        expect(await harbor.keys('*')).toEqual(['execution:status_outdate']);
      }
      const back = await runTally(['harbor', 'import'], environment);
      expect(back.output).toBe('imported 4032 markers, 0 malformed dropped');
      expect(await recorded()).toEqual(range(1, 4_032));
    },
  );

  it('leaves to the backlog lane a row that it has in hand', async () => {
    await recordRefreshes(database, refreshesOf([1, 2]), 'capture');
    const lane = await openClient(environment.DATABASE_URL);
    await lane.query('BEGIN');
    await lane.query(`SELECT FROM tally.refresh_backlog(1, 0, '-infinity')`);
    const exporting = exportHere('set');
    await until('the export to wait for the row', async () => {
      const blocked = await database.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      return blocked.length > 0;
    });
    await lane.query('COMMIT');
    expect(await exporting).toMatchObject({ outbox: 1 });
    expect(await markedIds(harbor)).toEqual([2]);
    expect(await outboxRows(database)).toBe(0);
  });

  it('also exports the jobs of a paused queue', async () => {
    await queue.pause();
    await enqueueRefreshes(queue, refreshesOf(range(1, 5)));
    const exported = await exportHere('set');
    expect(exported.queue).toBe(5);
    expect(await markedIds(harbor)).toEqual(range(1, 5));
    expect(await queue.getWaitingCount()).toBe(0);
  });

  it("exports what workers have in hand but leaves it, as it leaves jobs that aren't refreshes", async () => {
    await enqueueRefreshes(queue, refreshesOf([1, 2]));
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const worker = new Worker(queue.name, () => gate, {
      connection: redis.duplicate({ maxRetriesPerRequest: null }),
      prefix: queue.opts.prefix ?? '',
      concurrency: 2,
    });
    worker.on('error', () => undefined);
    await until('two to be active', async () => (await queue.getActiveCount()) === 2);
    await queue.add('refresh', { nonsense: 1 } as never);
    await enqueueRefreshes(queue, refreshesOf([3]));
    const exported = await exportHere('set');
    const lines = describeExport(exported, 'set').split('\n');
    open();
    await worker.close();
    expect(exported).toEqual({
      outbox: 0,
      queue: 1,
      failures: 0,
      taken: 0,
      active: 2,
      left: 1,
      newRows: 0,
    });
    expect(lines[1]).toBe(
      'markers were also written for 2 jobs that workers have in hand; the jobs were left',
    );
    expect(lines[2]).toMatch(/^1 jobs were left/);
    expect(await markedIds(harbor)).toEqual([1, 2, 3]);
  });

  it('without --format writes the set if only that exists, and asks where keys may be left over', async () => {
    await recordRefreshes(database, refreshesOf([1]), 'capture');
    const unknown = await runTally(['harbor', 'export'], environment);
    expect(unknown.code).toBe(2);
    expect(unknown.output).toMatch(/^tally: there are no markers .*--format keys.*--format set/);
    await markByKeys(harbor, [2]);
    const keys = await runTally(['harbor', 'export'], environment);
    expect(keys.code).toBe(2);
    expect(keys.output).toMatch(/^tally: there are keys, which may be left over .*--format set/);
    expect(await outboxRows(database)).toBe(1);
    await harbor.del(keyOf(2));
    await harbor.sadd('execution:status_outdate', '3:REPLICATION');
    const { output } = await runTally(['harbor', 'export'], environment);
    expect(output).toContain('(format set)');
    expect(await harbor.sismember('execution:status_outdate', '1:REPLICATION')).toBe(1);
  });

  it('exports what failed for good before Redis lost its jobs', async () => {
    for (const executionId of range(1, 3)) {
      await recordFailure(database, {
        executionId,
        vendor: 'REPLICATION',
        jobId: `${executionId}:REPLICATION:lost`,
        error: 'a constraint',
        sqlState: '23514',
        attempts: 5,
        attemptMs: 0,
      });
    }
    const exported = await exportHere('set');
    expect(exported).toMatchObject({ queue: 0, failures: 3 });
    expect(describeExport(exported, 'set')).toMatch(/^exported 3 refreshes as markers/);
    expect(await markedIds(harbor)).toEqual(range(1, 3));
    expect(await countFailures(database)).toBe(0);
  });

  it('refuses, in one line, while a producer is connected, and exports nothing', async () => {
    await recordRefreshes(database, refreshesOf([1]), 'capture', 600_000);
    await openProducer({ ...environment, HARBOR_REDIS_URL: '', RECONCILE_INTERVAL_MS: '0' });
    const { code, output } = await runTally(['harbor', 'export', '--format', 'set'], environment);
    expect(code).toBe(1);
    expect(output).toMatch(/^tally: a producer is connected to the database; stop .*$/);
    expect(await markedIds(harbor)).toEqual([]);
  });
});
