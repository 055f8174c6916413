import { afterAll, expect, it, onTestFinished } from 'vitest';
import { createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { askRedis, startRedisServer } from '../support/redis-servers.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';

// Sentinels that were kept from running for two seconds wait for half a minute before they decide anything.
const SENTINEL_MS = 180_000;

const PASSWORD = 'master-secret';
const SENTINEL_PASSWORD = 'sentinel-secret';

const settings = () => [
  `requirepass ${PASSWORD}`,
  `masterauth ${PASSWORD}`,
  'maxmemory-policy noeviction',
];
const [first, second] = await Promise.all([startRedisServer(settings), startRedisServer(settings)]);
await askRedis(second.port, ['REPLICAOF', '127.0.0.1', String(first.port)], PASSWORD);
await until('the replica to follow', async () =>
  String(await askRedis(second.port, ['INFO', 'replication'], PASSWORD)).includes(
    'master_link_status:up',
  ),
);
const watchFirst = (more: readonly string[]) => () => [
  `sentinel monitor mymaster 127.0.0.1 ${first.port} 1`,
  `sentinel auth-pass mymaster ${PASSWORD}`,
  'sentinel down-after-milliseconds mymaster 2000',
  'sentinel failover-timeout mymaster 5000',
  ...more,
];
const [open, closed] = await Promise.all([
  startRedisServer(watchFirst([]), 'sentinel'),
  startRedisServer(watchFirst([`requirepass ${SENTINEL_PASSWORD}`]), 'sentinel'),
]);
const servers = [first, second, open, closed];
afterAll(async () => void (await Promise.all(servers.map((server) => server.remove()))));

const url = (sentinel: number, parameters = '') =>
  `redis+sentinel://:${PASSWORD}@127.0.0.1:1,127.0.0.1:${sentinel}/mymaster/3${parameters}`;
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', RESEND_AFTER_MS: '5000' },
  redisUrl: url(open.port),
  capture: true,
});

const witness = await witnessRefreshes({ database, queue });

// Sentinels close every client's connection to the server that they promote.
const replication = async (port: number): Promise<string> =>
  String(await askRedis(port, ['INFO', 'replication'], PASSWORD).catch(() => ''));

it('sentinels that require a password are named, with the parameter to add', async () => {
  const without = startTally(['worker'], { ...environment, REDIS_URL: url(closed.port) });
  const line = await without.said('Redis is unavailable');
  expect(line).toContain('add ?sentinel_password=…');
  expect(line).not.toContain(PASSWORD);
  const given = url(closed.port, `?sentinel_password=${SENTINEL_PASSWORD}`);
  const { output } = await runTally(['status'], { ...environment, REDIS_URL: given });
  expect(output).not.toContain("Redis can't be asked");
});

it.each([
  ['nobody listens', '127.0.0.1:1', /ECONNREFUSED.*check REDIS_URL and that the server runs/],
  [
    'nobody knows the name',
    'sentinel.invalid:26379',
    /(ENOTFOUND|EAI_AGAIN).*the name does not resolve/,
  ],
])('where %s instead of a sentinel, the cause is named', async (_what, host, cause) => {
  const url = `redis+sentinel://:${PASSWORD}@${host}/mymaster`;
  const line = await startTally(['worker'], { ...environment, REDIS_URL: url }).said(
    'Redis is unavailable',
  );
  expect(line).toMatch(cause);
});

it('a sentinel that hangs is passed over', async () => {
  const hanging = await openProxy(`redis://127.0.0.1:${open.port}`);
  onTestFinished(() => hanging.close());
  hanging.mode = 'hold';
  const { host } = new URL(hanging.through('redis://sentinel'));
  const first = url(open.port).replace('127.0.0.1:1', host);
  await startWorker({ ...environment, REDIS_URL: first });
});

it(
  'after a failover, work resumes on the new master without a restart',
  { timeout: 600_000 },
  async () => {
    const ids = await createExecutions(database, 100);
    const worker = await startWorker(environment);
    await startProducer(environment);
    const watch = watchProcess(worker, await healthAddress(worker));
    watch.declare('unsettled');
    await witness.change(ids);
    await witness.verify(60_000);
    watch.declare('able');
    await watch.look(30);

    watch.declare('unsettled');
    await first.kill();
    await witness.change(ids);
    await until(
      'the second to be the master',
      async () => (await replication(second.port)).includes('role:master'),
      SENTINEL_MS,
    );
    await witness.verify(WORKS_AGAIN_MS);
    watch.declare('able');
    await watch.look(30);
    expect(watch.lies).toEqual([]);
    expect(await queue.getFailedCount()).toBe(0);
    expect(worker.lines.join('\n')).not.toContain(PASSWORD);
    await first.start();
  },
);

it(
  'connections to a master that becomes a replica move to the new master',
  { timeout: 600_000 },
  async () => {
    const ids = await createExecutions(database, 50);
    await startWorker(environment);
    await startProducer(environment);
    await witness.change(ids);
    await witness.verify(60_000);
    await until(
      'the first to be a replica',
      async () => (await replication(first.port)).includes('master_link_status:up'),
      SENTINEL_MS,
    );
    await askRedis(open.port, ['SENTINEL', 'FAILOVER', 'mymaster']);
    await witness.change(ids);
    await until(
      'the first to be the master',
      async () => (await replication(first.port)).includes('role:master'),
      SENTINEL_MS,
    );
    await witness.verify(WORKS_AGAIN_MS);
    expect(await queue.getFailedCount()).toBe(0);
  },
);
