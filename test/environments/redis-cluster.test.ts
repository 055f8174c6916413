import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { createExecution, createExecutions, readExecution } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { keepDoing } from '../support/keep-doing.ts';
import { healthAddress, untilReady } from '../support/health.ts';
import { watchProcess, type ProcessWatch } from '../support/process-watch.ts';
import {
  runTally,
  startProducer,
  startTally,
  startWorker,
  untilDoctorIsContent,
  type TallyProcess,
} from '../support/processes.ts';
import { statusOf } from '../support/tally-status.ts';
import { CLUSTER_PASSWORD, startRedisCluster } from '../support/redis-cluster.ts';
import type { RedisServer } from '../support/redis-servers.ts';
import { createStores } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const CHANGE_EVERY_MS = 50;

const cluster = await startRedisCluster();
afterAll(() => cluster.remove());
const { config, database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  redisUrl: cluster.url(),
  capture: true,
});
const prefix = config.QUEUE_PREFIX;
const witness = await witnessRefreshes({ database, queue });

const findOwner = () => cluster.findOwner(`${prefix}:any`);
const owner = () => until('a node to serve the slot', findOwner, 60_000);

const keepChanging = (ids: readonly number[]) =>
  keepDoing(CHANGE_EVERY_MS, () => witness.change(ids));

async function watchAll(children: readonly TallyProcess[]): Promise<ProcessWatch[]> {
  return await Promise.all(
    children.map(async (child) => watchProcess(child, await healthAddress(child), 'unsettled')),
  );
}

async function expectReady(watches: readonly ProcessWatch[]): Promise<void> {
  const isReady = ({ lastAnswer }: ProcessWatch) => lastAnswer.includes('"status":"ready"');
  await until('all to be ready', () => watches.every(isReady), WORKS_AGAIN_MS);
  for (const watch of watches) watch.declare('able');
  await Promise.all(watches.map((watch) => watch.look(24)));
}

describe('on three nodes of a Redis Cluster', { timeout: 300_000 }, () => {
  it('producer, worker, dashboard and commands work, with all keys in one slot', async () => {
    expect(prefix).toMatch(/^\{test_\w+\}$/);
    await startProducer(environment);
    const worker = await startWorker(environment);
    const dashboard = startTally(['dashboard'], environment);
    const url = await healthAddress(dashboard);
    const ids = await createExecutions(database, 20);
    await witness.change(ids);
    await witness.verify();

    const [poisoned = 0] = ids;
    await database.query(
      `ALTER TABLE execution ADD CONSTRAINT poison CHECK (id <> ${poisoned} OR end_time IS NULL) NOT VALID`,
    );
    await witness.change([poisoned]);
    await worker.said('failed for good', 60_000);
    const failed = await runTally(['failed'], environment);
    expect(failed).toMatchObject({ code: 0, output: expect.stringContaining('poison') });
    const board = await fetch(`${url}/api/queues?activeQueue=refresh&status=failed&page=1`);
    expect(await board.text()).toContain(`${poisoned}:REPLICATION`);
    await database.query('ALTER TABLE execution DROP CONSTRAINT poison');
    expect(await runTally(['retry', '--all'], environment)).toMatchObject({ code: 0 });
    await witness.verify();
    const enqueue = await runTally(['enqueue', `${poisoned}:REPLICATION`], environment);
    expect(enqueue).toMatchObject({ code: 0 });

    const overview = await fetch(`${url}/overview`);
    const text = await overview.text();
    expect(overview.status, text).toBe(200);
    expect(text).toContain(/worker ([^"]+?): health/.exec(worker.lines.join('\n'))?.[1] ?? '?');
    expect((await fetch(`${url}/executions/${poisoned}`)).status).toBe(200);
    expect(await statusOf(environment)).toMatchObject({
      queue: { failed: 0, waiting: 0 },
      workers: [{ active: 0 }],
    });
    await untilDoctorIsContent(environment);
    const keys = await Promise.all(cluster.nodes.map((node) => cluster.ask(node, ['DBSIZE'])));
    expect(keys.filter((count) => count !== 0)).toHaveLength(1);
  });

  it('a killed master, a manual failover and a moved slot cost only time, whichever node the URL names', async () => {
    const first = await owner();
    const spare = cluster.nodes[3] as RedisServer;
    await cluster.replicate(spare, first);
    const producer = await startProducer(environment);
    const workers = await Promise.all([
      startWorker({ ...environment, REDIS_URL: cluster.url([first]) }),
      startWorker(environment),
    ]);
    const dashboard = startTally(['dashboard'], environment);
    const watches = await watchAll([producer, ...workers, dashboard]);
    const ids = await createExecutions(database, 100);
    await witness.change(ids);
    await witness.verify();
    await expectReady(watches);

    const goesOn = async (
      what: string,
      disturb: () => Promise<unknown>,
      next: RedisServer,
    ): Promise<void> => {
      const stop = keepChanging(ids);
      // The producer accepts refreshes without Redis.
      for (const watch of watches.slice(1)) watch.declare('unsettled');
      await disturb();
      await until(what, async () => (await findOwner()) === next, 60_000);
      await stop();
      await witness.verify(WORKS_AGAIN_MS);
    };

    await goesOn('the replica to serve the slot', () => first.kill(), spare);
    for (const worker of workers) {
      expect(worker.lines.filter((line) => line.includes('Redis is unavailable'))).toHaveLength(1);
    }
    await first.start();
    await until('the first to follow', async () =>
      String(await cluster.ask(first, ['INFO', 'replication'])).includes('master_link_status:up'),
    );
    await goesOn(
      'the first to serve the slot again',
      () => cluster.ask(first, ['CLUSTER', 'FAILOVER']),
      first,
    );
    const other = cluster.nodes.find((node) => node !== first && node !== spare) as RedisServer;
    await goesOn('the other to serve the slot', () => moveSlot(first, other), other);

    await expectReady(watches);
    expect(watches.flatMap(({ lies }) => lies)).toEqual([]);
    expect(await queue.getFailedCount()).toBe(0);
  });

  it('while no node serves the slot, no process is ready or busy; work resumes when one does', async () => {
    injectFault(33, 'a slot that no node serves');
    const holder = await owner();
    const producer = await startProducer(environment);
    const worker = await startWorker(environment);
    const watches = await watchAll([worker, startTally(['dashboard'], environment)]);
    const producerWatch = watchProcess(producer, await healthAddress(producer), 'unsettled');
    const ids = await createExecutions(database, 20);
    await witness.change(ids);
    await witness.verify();
    await untilReady(producer);
    producerWatch.declare('able');
    for (const watch of watches) watch.declare('unable');
    await holder.kill();
    await witness.change(ids);
    await worker.said('Redis is unavailable');
    const all = [...watches, producerWatch];
    await Promise.all(all.map((watch) => watch.look(4)));
    for (const { cpuShare, unanswered } of await Promise.all(all.map((watch) => watch.look(8)))) {
      expect(cpuShare).toBeLessThan(0.2);
      expect(unanswered).toBe(0);
    }
    for (const watch of watches) watch.declare('unsettled');
    await holder.start();
    await owner();
    await witness.verify(WORKS_AGAIN_MS);
    await expectReady(watches);
    expect(all.flatMap(({ lies }) => lies)).toEqual([]);
  });
});

describe('a plain URL of one node', { timeout: 300_000 }, () => {
  it("works with a prefix in braces, even if the node doesn't serve its slot", async () => {
    const ids = await createExecutions(database, 20);
    const serves = await owner();
    const other = cluster.nodes.find((node) => node !== serves) as RedisServer;
    const url = cluster.url([other]).replace('+cluster', '');
    const own = { ...environment, REDIS_URL: url, QUEUE_PREFIX: prefix };
    await startProducer(own);
    await startWorker(own);
    await witness.change(ids);
    await witness.verify();
  });

  it("without braces is named as the problem: the process isn't ready, is idle, and stops on SIGTERM", async () => {
    const plain = cluster.url([await owner()]).replace('+cluster', '');
    const worker = startTally(['worker'], { ...environment, REDIS_URL: plain });
    const watch = watchProcess(worker, await healthAddress(worker));
    await worker.said('write the URL as redis+cluster://host,host');
    await watch.look(4);
    const seen = await watch.look(16);
    expect(seen.ready).toBe(0);
    expect(seen.unanswered).toBe(0);
    expect(seen.cpuShare).toBeLessThan(0.2);
    const said = worker.lines.filter((line) => line.includes('redis+cluster'));
    expect(said.length).toBeLessThanOrEqual(2);
    worker.kill('SIGTERM');
    expect(await worker.ended).toMatchObject({ code: 0 });
  });
});

it('a node that announces an unknown host name is named, with the setting to change', async () => {
  const serves = await owner();
  const other = cluster.nodes.find((node) => node !== serves) as RedisServer;
  const announce = async (name: string, type: string): Promise<void> => {
    await cluster.ask(serves, ['CONFIG', 'SET', 'cluster-announce-hostname', name]);
    await cluster.ask(other, ['CONFIG', 'SET', 'cluster-preferred-endpoint-type', type]);
  };
  await announce('nowhere.invalid', 'hostname');
  onTestFinished(() => announce('', 'ip'));
  await until('the other node to know the name', () =>
    cluster.ask(other, ['EXISTS', `${prefix}:any`]).then(
      () => false,
      (error: Error) => error.message.includes('nowhere.invalid'),
    ),
  );
  const worker = startTally(['worker'], { ...environment, REDIS_URL: cluster.url([other]) });
  const line = await worker.said('Redis is unavailable');
  expect(line).toContain('nowhere.invalid');
  expect(line).toContain('see its cluster-announce-hostname');
  await announce('', 'ip');
  await worker.said('taking jobs');
});

it('a Redis user without the right to inspect the cluster is enough', async () => {
  const rules = `on >user-secret ~${prefix}:* &${prefix}:* +@all -@dangerous -cluster +info +client|list`;
  for (const node of cluster.nodes) {
    await cluster.ask(node, ['ACL', 'SETUSER', 'limited', ...rules.split(' ')]);
  }
  const own = {
    ...environment,
    REDIS_URL: cluster.url().replace(`:${CLUSTER_PASSWORD}@`, 'limited:user-secret@'),
  };
  const id = await createExecution(database);
  const worker = await startWorker(own);
  await startProducer(own);
  await witness.change([id]);
  await until('the refresh', async () => (await readExecution(database, id)).revision === 1);
  expect(worker.lines.join('\n')).not.toMatch(/user-secret|NOPERM/);
});

/** As `redis-cli --cluster reshard` does it, but for one slot that is given. */
async function moveSlot(from: RedisServer, to: RedisServer): Promise<void> {
  const slot = String(await cluster.ask(from, ['CLUSTER', 'KEYSLOT', prefix]));
  const [fromId, toId] = await Promise.all(
    [from, to].map(async (node) => String(await cluster.ask(node, ['CLUSTER', 'MYID']))),
  );
  await cluster.ask(to, ['CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId ?? '']);
  await cluster.ask(from, ['CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId ?? '']);
  for (;;) {
    const keys = (await cluster.ask(from, ['CLUSTER', 'GETKEYSINSLOT', slot, '100'])) as string[];
    if (keys.length === 0) break;
    const target = ['127.0.0.1', String(to.port), '', '0', '5000'];
    const rest = ['AUTH', CLUSTER_PASSWORD, 'KEYS', ...keys];
    await cluster.ask(from, ['MIGRATE', ...target, ...rest]);
  }
  for (const node of [to, from]) {
    await cluster.ask(node, ['CLUSTER', 'SETSLOT', slot, 'NODE', toId ?? '']);
  }
}
