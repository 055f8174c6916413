import { expect, inject, it, onTestFinished } from 'vitest';
import { createExecutions, readExecution } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startTally } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';

const FIELD = 'redis_version:';

const { environment, database } = await createStores({
  settings: { WORKER_PORT: '0' },
  capture: true,
});

it('a Redis that is too old is named, nobody who needs it is ready, and all works once it is upgraded', async () => {
  const proxy = await openProxy(inject('redisUrl'));
  onTestFinished(() => proxy.close());
  // No package has one that is so old: this one calls itself so.
  proxy.watch = (chunk, from) => {
    const at = chunk.indexOf(FIELD);
    if (from === 'server' && at >= 0) chunk.write('5', at + FIELD.length);
  };
  const old = { ...environment, REDIS_URL: proxy.through(environment.REDIS_URL) };
  const cause = /Redis 5\.\S+ is older than 6\.2\.0, which BullMQ needs/;
  const worker = startTally(['worker'], old);
  const producer = startTally(['producer'], old);
  const dashboard = startTally(['dashboard'], old);
  const needing = await Promise.all(
    [worker, dashboard].map(async (child) => watchProcess(child, await healthAddress(child))),
  );
  await worker.said(cause);
  await producer.said(cause);
  for (const seen of await Promise.all(needing.map((watch) => watch.look(8)))) {
    expect(seen).toMatchObject({ ready: 0, unanswered: 0 });
    expect(seen.cpuShare).toBeLessThan(0.2);
  }
  for (const args of [['status'], ['failed'], ['enqueue', '42:REPLICATION'], ['doctor']]) {
    expect((await runTally(args, old)).output).toMatch(cause);
  }

  for (const watch of needing) watch.declare('unsettled');
  proxy.watch = undefined;
  const [id = 0] = await createExecutions(database, 1);
  await until(
    () => `the refresh; ${worker.lines.slice(-3).join('\n')}`,
    async () => (await readExecution(database, id)).status === 'Success',
    WORKS_AGAIN_MS,
  );
  await until(
    'both to be ready',
    () => needing.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
    WORKS_AGAIN_MS,
  );
  expect(needing.flatMap(({ lies }) => lies)).toEqual([]);
}, 300_000);
