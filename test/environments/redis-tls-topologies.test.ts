import { rmSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { newAuthority } from '../support/authority.ts';
import { createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { CLUSTER_PASSWORD, startRedisCluster } from '../support/redis-cluster.ts';
import { askRedis, startRedisServer, tlsOnly } from '../support/redis-servers.ts';
import { createStores } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';

// Sentinels that were kept from running for two seconds wait for half a minute before they decide anything.
const SENTINEL_MS = 180_000;
const PASSWORD = 'master-secret';

const own = newAuthority();
const foreign = newAuthority();
afterAll(() => {
  for (const { folder } of [own, foreign]) rmSync(folder, { recursive: true, force: true });
});

/** A queue behind TLS servers that follow each other. */
interface Topology {
  /** Without an authority. */
  readonly url: string;
  /** Its servers have another one to serve the queue. @returns once that one does */
  readonly failOver: () => Promise<void>;
  readonly remove: () => Promise<unknown>;
}

const kinds: Readonly<Record<string, () => Promise<Topology>>> = {
  async sentinels() {
    const settings = (_folder: string, port: number) => [
      ...tlsOnly(port, own),
      `requirepass ${PASSWORD}`,
      `masterauth ${PASSWORD}`,
      'maxmemory-policy noeviction',
    ];
    const [first, second] = await Promise.all([
      startRedisServer(settings),
      startRedisServer(settings),
    ]);
    const ask = async (port: number, command: readonly string[]): Promise<string> =>
      String(await askRedis(port, command, PASSWORD, own.ca).catch(() => ''));
    await ask(second.port, ['REPLICAOF', '127.0.0.1', String(first.port)]);
    const follows = async (): Promise<boolean> =>
      (await ask(second.port, ['INFO', 'replication'])).includes('master_link_status:up');
    await until('the replica to follow', follows);
    const sentinel = await startRedisServer(
      (_folder, port) => [
        ...tlsOnly(port, own),
        `sentinel monitor mymaster 127.0.0.1 ${first.port} 1`,
        `sentinel auth-pass mymaster ${PASSWORD}`,
        'sentinel down-after-milliseconds mymaster 2000',
        'sentinel failover-timeout mymaster 5000',
      ],
      'sentinel',
    );
    return {
      url: `rediss+sentinel://:${PASSWORD}@127.0.0.1:1,127.0.0.1:${sentinel.port}/mymaster/3`,
      failOver: async () => {
        await first.kill();
        await until(
          'the second to be the master',
          async () => (await ask(second.port, ['ROLE'])).startsWith('master'),
          SENTINEL_MS,
        );
      },
      remove: () => Promise.all([first, second, sentinel].map((server) => server.remove())),
    };
  },
  async 'a cluster'() {
    const cluster = await startRedisCluster(own);
    const key = '{tally}:any';
    return {
      url: cluster.url(),
      failOver: async () => {
        const owner = await until('a node to serve the slot', () => cluster.findOwner(key));
        const spare = cluster.nodes[3] ?? owner;
        await cluster.replicate(spare, owner);
        await owner.kill();
        const serves = async () => (await cluster.findOwner(key)) === spare;
        await until('the replica to serve the slot', serves, 60_000);
      },
      remove: () => cluster.remove(),
    };
  },
};

it.each(Object.entries(kinds))(
  '%s over TLS works, names a missing authority, and continues after a failover',
  { timeout: 600_000 },
  async (_kind, start) => {
    const topology = await start();
    try {
      await check(topology);
    } finally {
      await topology.remove();
    }
  },
);

async function check({ url, failOver }: Topology): Promise<void> {
  const { environment: plain, database } = stores;
  const named = { ...plain, REDIS_URL: `${url}?ssl_ca_certs=${own.ca}` };
  const trusted = { ...plain, REDIS_URL: url, NODE_EXTRA_CA_CERTS: own.ca };
  await startProducer(named);
  const workers = await Promise.all([startWorker(named), startWorker(trusted)]);
  const ids = await createExecutions(database, 50);
  await witness.change(ids);
  await witness.verify();
  for (const environment of [named, trusted]) {
    const status = await runTally(['status'], environment);
    expect(status.output).toMatch(/^workers +2$/m);
    expect(status.output).not.toContain("can't be asked");
    expect((await runTally(['doctor'], environment)).output).not.toContain('PROBLEM');
  }

  for (const untrusted of [url, `${url}?ssl_ca_certs=${foreign.ca}`]) {
    const other = startTally(['worker'], { ...plain, REDIS_URL: untrusted });
    const line = await other.said('Redis is unavailable');
    expect(line).toContain('ssl_ca_certs=');
    expect(line).toContain('NODE_EXTRA_CA_CERTS');
    other.kill('SIGTERM');
    expect(await other.ended).toMatchObject({ code: 0 });
    expect(other.lines.filter((said) => said.includes('Redis is unavailable'))).toHaveLength(1);
  }

  await failOver();
  await witness.change(ids);
  await witness.verify(WORKS_AGAIN_MS);
  for (const worker of workers) {
    expect(worker.lines.join('\n')).not.toContain(PASSWORD);
    expect(worker.lines.join('\n')).not.toContain(CLUSTER_PASSWORD);
  }
}

const stores = await createStores({
  settings: { QUEUE_PREFIX: 'tally', RECONCILE_INTERVAL_MS: '0', RESEND_AFTER_MS: '5000' },
  capture: true,
});
const witness = await witnessRefreshes(stores);
