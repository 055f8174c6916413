import { expect, it, onTestFinished } from 'vitest';
import { loadConfig } from '../../../shared/process/config.ts';
import { silentLogger } from '../../../shared/process/logger.ts';
import { createRefreshMetrics, createRegistry } from '../../../shared/process/metrics.ts';
import type { Database } from '../../../shared/postgres/database.ts';
import { bullmq } from '../../../shared/queue/packages.ts';
import type { RefreshJob } from '../../../shared/queue/refresh-queue.ts';
import { ActivityLog } from '../../../workers/activity-log.ts';
import { Recorder } from '../../../workers/recorder.ts';
import type { RefreshResult } from '../../../workers/refresh-batch.ts';
import { RefreshJobs } from '../../../workers/refresh-job.ts';
import type { StoreWatches } from '../../../workers/store-watches.ts';

const IDENTITY = { executionId: 42, vendor: 'SCAN' };

/** Runs one job whose refresh ends like this, and tells what was asked and told on the way. */
async function run(
  result: RefreshResult,
  job: {
    readonly data?: unknown;
    readonly attemptsMade?: number;
    readonly recording?: () => Promise<void>;
  } = {},
) {
  const { data = IDENTITY, attemptsMade = 0, recording = () => Promise.resolve() } = job;
  const told: string[] = [];
  const registry = createRegistry();
  const log = new ActivityLog(silentLogger());
  onTestFinished(() => log.close());
  const taken = {
    id: '42:SCAN:x',
    data,
    attemptsMade,
    opts: {},
    moveToWait: async (token: string) => void told.push(`back with ${token}`),
  };
  const jobs = new RefreshJobs({
    config: loadConfig([], { JOB_ATTEMPTS: '2' }),
    database: {
      query: async () => {
        told.push('failure recorded');
        await recording();
        return [];
      },
    } as unknown as Database,
    batcher: {
      refresh: async (executionId) => {
        told.push(`refresh ${executionId}`);
        return result;
      },
    },
    stores: {
      postgres: {
        reportServed: () => void told.push('served'),
        reportUnavailable: (error: Error) => void told.push(`unavailable: ${error.message}`),
      },
    } as unknown as Pick<StoreWatches, 'postgres'>,
    recorder: new Recorder({ metrics: createRefreshMetrics(registry), log }),
    log: silentLogger(),
  });
  const thrown: unknown = await jobs
    .run(taken as unknown as RefreshJob, 'token')
    .then(() => undefined)
    .catch((error: unknown) => error);
  return { told, thrown, opts: taken.opts, metrics: await registry.metrics() };
}

const failed = (message: string): RefreshResult => ({ kind: 'failed', error: new Error(message) });

it('a job whose refresh was done is done, and counted', async () => {
  const report = { executionId: 42, outcome: 'changed', source: 'api', lagMs: 5 } as const;
  const { told, thrown, metrics } = await run({ kind: 'refreshed', report });
  expect({ told, thrown }).toEqual({ told: ['refresh 42', 'served'], thrown: undefined });
  expect(metrics).toContain('tally_refreshes_total{vendor="SCAN",outcome="changed"} 1');
});

it("a job whose data isn't a refresh fails for good, without a refresh", async () => {
  const { told, thrown } = await run(failed('never asked'), { data: { executionId: 'x' } });
  expect(told).toEqual([]);
  expect(thrown).toBeInstanceOf(bullmq.UnrecoverableError);
  expect(thrown).toMatchObject({ message: expect.stringContaining('is not a refresh') as string });
});

it('a refresh that failed is tried again as this worker is set, while it has attempts left', async () => {
  const { told, thrown, opts } = await run(failed('refused'));
  expect({ told, thrown }).toEqual({ told: ['refresh 42'], thrown: new Error('refused') });
  expect(opts).toEqual({
    attempts: 2,
    backoff: { type: 'exponential', delay: 1_000, jitter: 0.5 },
  });
});

it('with its last attempt it fails for good, once that is recorded', async () => {
  const { told, thrown } = await run(failed('refused'), { attemptsMade: 1 });
  expect(told).toEqual(['refresh 42', 'failure recorded']);
  expect(thrown).toEqual(new bullmq.UnrecoverableError('refused'));
});

it("a failure that can't be recorded now gives the job back, at no cost", async () => {
  const { told, thrown } = await run(failed('refused'), {
    attemptsMade: 1,
    recording: () => Promise.reject(Object.assign(new Error('down'), { code: 'ECONNREFUSED' })),
  });
  expect(told).toEqual(['refresh 42', 'failure recorded', 'unavailable: down', 'back with token']);
  expect(thrown).toBeInstanceOf(bullmq.WaitingError);
});

it('so does a Postgres that is unavailable', async () => {
  const { told, thrown } = await run({ kind: 'unavailable', error: new Error('starting') });
  expect(told).toEqual(['refresh 42', 'unavailable: starting', 'back with token']);
  expect(thrown).toBeInstanceOf(bullmq.WaitingError);
});
