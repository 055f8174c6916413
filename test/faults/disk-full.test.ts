import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { findOnPath } from '../../cli/embedded/programs.ts';
import { countJobs } from '../../shared/queue/refresh-queue.ts';
import {
  createExecutions,
  outboxRows,
  refreshOf,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { readyStatus, untilReady } from '../support/health.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startTally, startWorker } from '../support/processes.ts';
import { askUntilAccepted } from '../support/refresh-api.ts';
import { sabotage } from '../support/sabotage.ts';
import { newRedis } from '../support/servers.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

/**
 * A Redis whose files may not grow beyond 16 MiB (32 where sh counts in other blocks). To a server that is the same as a full disk, a write that fails, and it
 * needs neither root nor a file system of its own. The signal that comes with it has to be ignored, or it would kill.
 */
async function redisOnSmallDisk() {
  const path = process.env['PATH'] ?? '';
  const program = findOnPath(['redis-server', 'valkey-server']);
  const folder = mkdtempSync(join(tmpdir(), 'tally-test-'));
  const limited = join(folder, 'redis-server');
  writeFileSync(limited, `#!/bin/sh\ntrap '' XFSZ\nulimit -f 32768\nexec ${program} "$@"\n`);
  chmodSync(limited, 0o755);
  process.env['PATH'] = `${folder}${delimiter}${path}`;
  try {
    return await newRedis();
  } finally {
    process.env['PATH'] = path;
    rmSync(folder, { recursive: true });
  }
}

const server = await redisOnSmallDisk();
afterAll(() => server.stop());
const { database, redis, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  redisUrl: server.url,
  capture: true,
});
const witness = await witnessRefreshes({ database, queue });

it('while the disk of Redis is full, no worker is ready and rows wait; freeing it resumes the work', async () => {
  const dashboard = startTally(['dashboard'], environment);
  const [producer, worker] = await Promise.all([
    startProducer(environment),
    startWorker(environment),
  ]);
  const ids = await createExecutions(database, 200);
  await untilOutboxIsEmpty(database);
  await Promise.all([worker, dashboard].map(untilReady));

  // The same key again and again: the file grows, and the data that a rewrite would leave does not.
  await until('the disk to be full', () =>
    redis.set('filler', 'x'.repeat(1_000_000)).then(
      () => false,
      (error: unknown) => String(error).includes('MISCONF'),
    ),
  );
  const fault = injectFault(
    28,
    'an append-only file that has reached the most it may grow to (ulimit -f), so that its writes fail',
  );
  await witness.change(ids);
  await producer.said('the queue in Redis is unavailable');
  expect(await readyStatus(worker)).toBe(503);
  // It only reads, and Redis still lets it.
  await untilReady(dashboard);
  await untilReady(producer);
  await askUntilAccepted(producer.url, refreshOf(ids[0] ?? 0));
  expect(await outboxRows(database)).toBeGreaterThan(ids.length);

  fault.over();
  await redis.bgrewriteaof();
  await witness.verify();
  fault.recovered();
  await producer.said('the queue in Redis is back');
  await untilReady(worker);
  expect(await queue.getFailedCount()).toBe(0);
});

it('a full disk of Postgres is one outage, not ready, without attempts; freeing it resumes the work', async () => {
  const [worker] = await Promise.all([startWorker(environment), startProducer(environment)]);
  const ids = await createExecutions(database, 50);
  await untilOutboxIsEmpty(database);
  // What Postgres says when it can't extend a file (53100), said by a trigger: a small file system would need root.
  // Its sequence counts the tries, since a rollback doesn't take a number back.
  await database.query('CREATE SEQUENCE public.tries');
  const fullDisk = await sabotage(
    database,
    `PERFORM nextval('public.tries');
     RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'`,
    { each: 'STATEMENT' },
  );
  const fault = injectFault(
    28,
    'the error of a full disk, raised by a trigger (a small file system would need root)',
  );
  await witness.change(ids);
  await worker.said('No space left on device');
  await until('four tries, ready after none', async () => {
    expect(await readyStatus(worker)).toBe(503);
    const [row] = await database.query<{ tries: number }>(
      'SELECT last_value AS tries FROM public.tries',
    );
    return (row?.tries ?? 0) >= 4;
  });
  expect(worker.lines.filter((line) => /Postgres is (unavailable|back)/.test(line))).toHaveLength(
    1,
  );
  expect(await countJobs(queue)).toMatchObject({ failed: 0, delayed: 0 });
  fault.over();
  await fullDisk.end();
  await witness.verify();
  fault.recovered();
  await untilReady(worker);
  await worker.said('Postgres is back');
});
