import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findOnPath } from '../../cli/embedded/programs.ts';
import type { Authority } from './authority.ts';
import { lastingPort } from './lasting-port.ts';
import { askRedis, startRedisServer, tlsOnly, type RedisServer } from './redis-servers.ts';
import { until } from './wait.ts';

export const CLUSTER_PASSWORD = 'cluster-secret';

export interface RedisCluster {
  readonly nodes: readonly RedisServer[];
  /** `redis+cluster://` with these nodes, `rediss+cluster://` with TLS; without any, with all. */
  url(nodes?: readonly RedisServer[]): string;
  /** The node that serves the slot of this key now, if one does. */
  findOwner(key: string): Promise<RedisServer | undefined>;
  ask(node: RedisServer, command: readonly string[]): Promise<unknown>;
  /** Makes one node the replica of another that has slots, and waits until it follows it. */
  replicate(replica: RedisServer, master: RedisServer): Promise<void>;
  remove(): Promise<void>;
}

/**
 * Three nodes that share the slots, as `redis-cli --cluster create` makes them, and a fourth that has none.
 * @param tls for nodes that take TLS only, from each other too
 */
export async function startRedisCluster(tls?: Authority): Promise<RedisCluster> {
  const nodes = await Promise.all(
    [1, 2, 3, 4].map(async () => {
      const busPort = await lastingPort();
      return await startRedisServer((_folder, port) => [
        ...(tls ? [...tlsOnly(port, tls), 'tls-cluster yes'] : []),
        'cluster-enabled yes',
        // The default, 10,000 above the port, may be no port at all.
        `cluster-port ${busPort}`,
        'cluster-node-timeout 2000',
        `requirepass ${CLUSTER_PASSWORD}`,
        `masterauth ${CLUSTER_PASSWORD}`,
        'maxmemory-policy noeviction',
      ]);
    }),
  );
  const cli = findOnPath(['redis-cli', 'valkey-cli']) ?? '';
  const ask = (node: RedisServer, command: readonly string[]) =>
    askRedis(node.port, command, CLUSTER_PASSWORD, tls?.ca);
  const manage = async (...args: readonly string[]): Promise<void> => {
    const encrypted = tls ? ['--tls', '--cacert', tls.ca] : [];
    await promisify(execFile)(cli, ['-a', CLUSTER_PASSWORD, ...encrypted, '--cluster', ...args]);
  };
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`);
  await manage('create', ...addresses.slice(0, 3), '--cluster-yes');
  await manage('add-node', addresses[3] ?? '', addresses[0] ?? '');
  await Promise.all(nodes.map(async (node) => await untilWhole(node)));

  async function untilWhole(node: RedisServer): Promise<void> {
    await until(`node ${node.port} to know all nodes`, async () => {
      const info = String(await ask(node, ['CLUSTER', 'INFO']));
      return /cluster_state:ok/.test(info) && /cluster_known_nodes:4/.test(info);
    });
  }

  return {
    nodes,
    ask,
    url: (some = nodes) =>
      `redis${tls ? 's' : ''}+cluster://:${CLUSTER_PASSWORD}@${some.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    findOwner: async (key) => {
      const serves = (node: RedisServer): Promise<boolean> =>
        ask(node, ['EXISTS', key]).then(
          () => true,
          () => false,
        );
      const answers = await Promise.all(nodes.map(serves));
      return nodes.find((_node, at) => answers[at]);
    },
    replicate: async (replica, master) => {
      const id = String(await ask(master, ['CLUSTER', 'MYID']));
      await ask(replica, ['CLUSTER', 'REPLICATE', id]);
      await until(`node ${replica.port} to follow ${master.port}`, async () =>
        String(await ask(replica, ['INFO', 'replication'])).includes('master_link_status:up'),
      );
      await Promise.all(nodes.map(untilWhole));
    },
    remove: async () => void (await Promise.all(nodes.map((node) => node.remove()))),
  };
}
