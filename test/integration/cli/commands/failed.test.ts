import { readFileSync } from 'node:fs';
import { afterAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { countJobs } from '../../../../shared/queue/refresh-queue.ts';
import { retryInBulk } from '../../../../shared/failures/bulk-retry.ts';
import { countByRevision, createExecution, refreshOf } from '../../../support/executions.ts';
import { createFailedJobs, failuresOf } from '../../../support/failed-jobs.ts';
import { openWorker } from '../../../support/in-process.ts';
import { runTally, startTally } from '../../../support/processes.ts';
import { MANY_CALLS_SLOW_MS, slowCommands } from '../../../support/slow-log.ts';
import { newRedis } from '../../../support/servers.ts';
import { createStores } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

// Its slow log tells of this file's commands only.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const { database, queue, redis, environment } = await createStores({ redisUrl: ownRedis.url });
const parts = { database, queue, redis };
// Of retries of 50,000 jobs, on a busy machine.
const FIVE_RUNS_MS = 600_000;
const tally = (...args: string[]) => runTally(args, environment);

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure');
});

describe('tally failed', () => {
  it('--json prints one document of the documented form', async () => {
    const failedAtMs = Date.UTC(2026, 0, 2, 3, 4, 5);
    await createFailedJobs(parts, [
      ...failuresOf(2, (id) => `quota of tenant ${id}`).map((job) => ({ ...job, failedAtMs })),
      { jobId: 'odd', data: { hello: 1 }, error: 'no refresh', failedAtMs },
    ]);
    const { code, output } = await tally('failed', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(output)).toEqual({
      failed: 3,
      causes: [
        {
          error: 'quota of tenant <n>',
          count: 2,
          vendors: ['REPLICATION'],
          first: '2026-01-02T03:04:05.000Z',
          last: '2026-01-02T03:04:05.000Z',
          examples: expect.arrayContaining([
            { jobId: '1:REPLICATION:test', identity: '1:REPLICATION' },
            { jobId: '2:REPLICATION:test', identity: '2:REPLICATION' },
          ]) as unknown,
        },
        {
          error: 'no refresh',
          count: 1,
          vendors: [],
          first: '2026-01-02T03:04:05.000Z',
          last: '2026-01-02T03:04:05.000Z',
          examples: [{ jobId: 'odd', identity: null }],
        },
      ],
    });
  });

  it('escapes an error that would clear the screen', async () => {
    await createFailedJobs(parts, [{ jobId: '\u001b]0;x', data: {}, error: 'a\u001b[Jb' }]);
    const { code, output } = await tally('failed');
    expect(code).toBe(0);
    expect(output).not.toContain('\u001b');
    expect(output).toContain('1  a\\u{1b}[Jb');
  });

  it('--json keeps texts unchanged, without any character that changes the writing direction', async () => {
    await createFailedJobs(parts, [{ jobId: 'x\u202e', data: {}, error: 'a\u202eb\u009bc' }]);
    const { output } = await tally('failed', '--json');
    expect(output).not.toMatch(/[\u202e\u009b]/);
    expect(JSON.parse(output)).toMatchObject({
      causes: [{ error: 'a\u202eb\u009bc', examples: [{ jobId: 'x\u202e' }] }],
    });
  });

  it('says when there are no failed jobs', async () => {
    expect(await tally('failed')).toEqual({ code: 0, output: 'no failed jobs' });
  });
});

describe('tally retry', () => {
  it('without a selection is a usage error, and retries nothing', async () => {
    await createFailedJobs(parts, failuresOf(1));
    const { code, output } = await tally('retry');
    expect(code).toBe(2);
    expect(output).toMatch(
      /^tally: select what to retry: --all, .*; tally failed shows what there is$/,
    );
    expect(await countJobs(queue)).toMatchObject({ waiting: 0, failed: 1 });
  });

  it('replaces five failed jobs of one execution by one run', async () => {
    const id = await createExecution(database);
    const data = refreshOf(id);
    await createFailedJobs(
      parts,
      Array.from({ length: 5 }, (_none, n) => ({
        jobId: `${id}:REPLICATION:${n}`,
        data,
        error: 'no',
      })),
    );
    expect(await tally('retry', '--execution', String(id))).toEqual({
      code: 0,
      output: 'retried 5',
    });
    expect(await countJobs(queue)).toMatchObject({ waiting: 1, failed: 0 });
    await openWorker(environment);
    await until(
      'it to be done',
      async () => (await queue.getJobCountByTypes('wait', 'active')) === 0,
    );
    expect(await countByRevision(database, [id])).toEqual({ 1: 1 });
  });

  it('retries only what all options together select, and nothing with --dry-run', async () => {
    const jobs = failuresOf(4, (id) => (id < 3 ? `quota of tenant ${id}` : 'deadlock detected'));
    await createFailedJobs(parts, jobs);
    const select = ['--vendor', 'REPLICATION', '--error', 'quota of tenant <n>'];
    expect((await tally('retry', ...select, '--dry-run')).output).toBe('would retry 2');
    expect(await countJobs(queue)).toMatchObject({ waiting: 0, failed: 4 });
    expect((await tally('retry', ...select)).output).toBe('retried 2');
    expect(
      (await queue.getFailed()).map((job) => job.data.executionId).toSorted((a, b) => a - b),
    ).toEqual([3, 4]);
    expect(
      (await queue.getWaiting()).map((job) => job.data.executionId).toSorted((a, b) => a - b),
    ).toEqual([1, 2]);
  });

  it("leaves failed jobs that aren't refreshes, and says where to remove them", async () => {
    await createFailedJobs(parts, [...failuresOf(1), { jobId: 'odd', data: 'x', error: 'no' }]);
    const { code, output } = await tally('retry', '--all');
    expect(code).toBe(0);
    expect(output).toContain('retried 1');
    expect(output).toContain(
      '1 failed jobs are not refreshes and stay; remove them on the dashboard',
    );
    expect((await queue.getFailed()).map(({ id }) => id)).toEqual(['odd']);
  });

  it("doesn't touch a job that failed after it began, and so ends", async () => {
    await createFailedJobs(
      parts,
      failuresOf(3_500).map((job) => ({ ...job, failedAtMs: 1_000 })),
    );
    let newer = 0;
    const { retried } = await retryInBulk(
      parts,
      {},
      {
        dryRun: false,
        signal: new AbortController().signal,
        onPage: () => {
          // As many again as were just retried.
          newer++;
          void createFailedJobs(
            parts,
            failuresOf(500).map((job) => ({ ...job, jobId: `${job.jobId}:${newer}` })),
          );
        },
      },
    );
    expect(retried).toBe(3_500);
    await until('the newer ones', async () => (await queue.getFailedCount()) === newer * 500);
    expect(newer).toBeGreaterThan(2);
  });

  it(
    '--all of 50,000 beside 300,000 waiting never blocks Redis and keeps memory bounded',
    { timeout: FIVE_RUNS_MS },
    async () => {
      const waiting = 300_000;
      const count = 50_000;
      let runs = 0;
      let peakMb = 0;
      // Removing them as jobs would take longer than the hook of the next test may.
      onTestFinished(async () => void (await redis.flushdb('ASYNC')));
      await fillWaiting(waiting);
      const slow = await slowCommands(redis, MANY_CALLS_SLOW_MS, async () => {
        runs++;
        // Others in each run: those of the run before are waiting.
        await createFailedJobs(parts, failuresOf(runs * count).slice(-count));
        await until(
          'all to be retried',
          async () => {
            const retry = startTally(['retry', '--all'], environment);
            const watch = setInterval(() => (peakMb = Math.max(peakMb, residentMb(retry.pid))), 50);
            const { code } = await retry.ended;
            clearInterval(watch);
            // A Redis that stands still for three seconds ends it; it says to run it again.
            if (code === 1 && retry.lines.join().includes('stopped answering')) return false;
            expect(retry.lines.join()).toMatch(/^retried \d+$/);
            return code === 0;
          },
          FIVE_RUNS_MS,
        );
        expect((await tally('failed')).output).toBe('no failed jobs');
      });
      expect(slow).toEqual([]);
      expect(await countJobs(queue)).toMatchObject({
        waiting: waiting + runs * count,
        failed: 0,
      });
      expect(peakMb).toBeGreaterThan(0);
      expect(peakMb).toBeLessThan(250);
    },
  );

  it('when interrupted ends after the page in hand, says how far it came and loses no identity', async () => {
    await createFailedJobs(parts, failuresOf(10_000));
    const retry = startTally(['retry', '--all'], environment);
    await until('it to have begun', async () => (await queue.getWaitingCount()) > 0);
    retry.kill('SIGINT');
    expect((await retry.ended).code).toBe(1);
    const retried = Number(/interrupted after (\d+) were retried/.exec(retry.lines.join())?.[1]);
    expect(retried).toBeGreaterThan(0);
    expect(retried).toBeLessThan(10_000);
    expect(await countJobs(queue)).toMatchObject({ waiting: retried, failed: 10_000 - retried });
  });
});

/** A list of waiting jobs as long as it is said; only its length matters here, and jobs would take a minute. */
async function fillWaiting(count: number): Promise<void> {
  for (let from = 0; from < count; from += 10_000) {
    const ids = Array.from({ length: 10_000 }, (_none, n) => `${from + n}:OTHER:waits`);
    await redis.rpush(queue.toKey('wait'), ...ids);
  }
}

/** Memory of a process that is in use now, in MiB; 0 when it has ended. */
function residentMb(pid: number): number {
  try {
    // One that has ended and was not waited for yet has a file, and no memory in it.
    const [, kib = 0] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return Number(kib) / 1_024;
  } catch {
    return 0;
  }
}
