import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Redis } from 'ioredis';
import { describeError, TallyError } from '../errors.ts';
import { pause } from '../process/wait.ts';
import { hasHashTag } from '../process/hash-tag.ts';
import { ioredis } from './packages.ts';
import type { ConnectionOptions } from './redis-options.ts';
import type { RedisAddress, RedisHost } from '../process/redis-url.ts';

const ASK_TIMEOUT_MS = 2_000;
// A node's answer if it doesn't serve the command's slot: "MOVED 3999 127.0.0.1:6381".
const MOVED = /^MOVED \d+ (.*):(\d+)$/;

type Emit = (type: string, error: Error) => void;
type Socket = ReturnType<typeof connectTcp>;

/** What related connections know about the servers behind their URL. */
interface Topology {
  readonly address: RedisAddress;
  /** User, password and TLS. */
  readonly options: ConnectionOptions;
  /** A key in the queue's slot; it needn't exist. */
  readonly key: string;
  readonly retryDelayMs: (attempt: number) => number;
  isCluster: boolean;
  /** The node that last served the slot. */
  owner: RedisHost | undefined;
  nodes: readonly RedisHost[];
  /** Why this cluster can't be used, from what it answered. */
  refusal: Error | undefined;
}

/**
 * Options that lead a connection to the node of a Redis Cluster that serves the queue's slot, and
 * to another node when the slot moves. All keys of a queue lie in one slot, so one connection is
 * enough, and a failover looks like a server that is unavailable for a while. A URL of a single
 * server counts as one until that server says that it is a cluster node.
 *
 * Only the key's own slot is asked for, so the Redis user needs no right to inspect the cluster.
 * @param key any key that starts with the queue's prefix
 * @param retryDelayMs milliseconds to wait before attempt n to find a node that answers
 */
export function followSlotOwner(
  address: RedisAddress,
  options: ConnectionOptions,
  key: string,
  retryDelayMs: (attempt: number) => number,
): ConnectionOptions {
  const topology: Topology = {
    address,
    options,
    key,
    retryDelayMs,
    isCluster: address.kind === 'cluster',
    owner: undefined,
    nodes: address.hosts,
    refusal: undefined,
  };
  return {
    ...options,
    // ioredis creates one for each connection, also for those that BullMQ duplicates.
    Connector: class extends SlotOwnerConnector {
      constructor() {
        super(topology);
      }
    },
    reconnectOnError: ({ message }) => {
      const moved = movedTo(message, topology.owner);
      if (!hasHashTag(key) && (moved || message.startsWith('CROSSSLOT'))) {
        topology.refusal = notUsable();
        return true;
      }
      if (moved) {
        topology.isCluster = true;
        topology.owner = moved;
      }
      // The command is resent once there is a connection to the node that serves it.
      return moved !== undefined || message.startsWith('CLUSTERDOWN') ? 2 : false;
    },
  };
}

class SlotOwnerConnector extends ioredis.AbstractConnector {
  readonly #topology: Topology;
  #stopped = new AbortController();
  #emit: Emit | undefined;

  constructor(topology: Topology) {
    super(ASK_TIMEOUT_MS);
    this.#topology = topology;
  }

  // ioredis gives up for good if this rejects, so it retries until a node is found.
  override async connect(emit: Emit): Promise<Socket> {
    this.connecting = true;
    this.#emit = emit;
    this.#stopped = new AbortController();
    const { signal } = this.#stopped;
    for (let attempt = 1; !signal.aborted; attempt++) {
      const host = await this.#chooseHost();
      if (signal.aborted) break;
      if (!(host instanceof Error)) return this.#open(host);
      emit('error', host);
      await pause(this.#topology.retryDelayMs(attempt), signal);
    }
    throw new Error('Connection is closed.');
  }

  /**
   * Called with the server's INFO, as far as the user may read it, before the connection is used.
   */
  override check(info: Readonly<Record<string, string | undefined>>): boolean {
    const topology = this.#topology;
    const mode = info['redis_mode'];
    if (mode === 'cluster' && !topology.isCluster) {
      if (!hasHashTag(topology.key)) {
        topology.refusal = notUsable();
      } else {
        topology.isCluster = true;
        return false;
      }
    } else if (mode !== undefined) {
      topology.refusal = undefined;
    }
    if (topology.refusal !== undefined) this.#emit?.('error', topology.refusal);
    return topology.refusal === undefined;
  }

  override disconnect(): void {
    this.#stopped.abort();
    super.disconnect();
  }

  async #chooseHost(): Promise<RedisHost | Error> {
    const topology = this.#topology;
    const [first] = topology.address.hosts;
    if (!topology.isCluster && first !== undefined) return first;
    return await findOwner(topology);
  }

  #open({ host, port }: RedisHost): Socket {
    const { tls } = this.#topology.options;
    const stream = tls ? connectTls({ ...tls, host, port }) : connectTcp({ host, port });
    stream.once('error', (error) => {
      this.firstError = error;
    });
    this.stream = stream;
    return stream;
  }
}

/** Asks one node after another, last known owners first. */
async function findOwner(topology: Topology): Promise<RedisHost | Error> {
  const { owner, nodes, address } = topology;
  const asked = new Set<string>();
  const toAsk = [...(owner ? [owner] : []), ...address.hosts, ...nodes];
  // The first problem is that of the previous owner, since that is asked first.
  let problem: Error | undefined;
  for (let host = toAsk.shift(); host !== undefined; host = toAsk.shift()) {
    const name = `${host.host}:${host.port}`;
    if (asked.has(name)) continue;
    asked.add(name);
    const answer = await askWhoOwns(topology, host);
    if (answer === 'this one') {
      topology.owner = host;
      return host;
    }
    if (answer instanceof Error) {
      const known = address.hosts.some((given) => `${given.host}:${given.port}` === name);
      // Behind NAT or in a container, a node may announce an address that works only on its own
      // network.
      const told = known
        ? ''
        : ' (as the other nodes announce it; see its cluster-announce-hostname and cluster-announce-ip)';
      problem ??= new Error(`node ${name}${told} of the Redis Cluster: ${describeError(answer)}`, {
        cause: answer,
      });
    } else {
      toAsk.unshift(answer);
    }
  }
  return problem ?? new Error('no node of the Redis Cluster answers');
}

async function askWhoOwns(
  topology: Topology,
  host: RedisHost,
): Promise<'this one' | RedisHost | Error> {
  const node = new ioredis.Redis({
    ...topology.options,
    ...host,
    lazyConnect: true,
    enableReadyCheck: false,
    connectTimeout: ASK_TIMEOUT_MS,
    commandTimeout: ASK_TIMEOUT_MS,
    retryStrategy: () => null,
  });
  let lost: Error | undefined;
  node.on('error', (error: Error) => {
    lost = error;
  });
  try {
    await node.connect();
    await node.exists(topology.key);
    topology.nodes = await otherNodes(node, host);
    return 'this one';
  } catch (error) {
    const message = describeError(error);
    // A user who may not read the key learns the owner from the first command that reaches the
    // wrong node.
    if (message.startsWith('NOPERM')) return 'this one';
    return movedTo(message, host) ?? lost ?? (error instanceof Error ? error : new Error(message));
  } finally {
    node.disconnect();
  }
}

/**
 * All nodes, to be asked if the owner is lost. Without the right to read them, those of the URL
 * remain.
 */
async function otherNodes(node: Redis, { host }: RedisHost): Promise<RedisHost[]> {
  const ranges = (await node.cluster('SLOTS').catch(() => [])) as [
    number,
    number,
    ...[string | null, number][],
  ][];
  return ranges.flatMap(([, , ...nodes]) =>
    // A node that doesn't know its own name returns none; it is the node that was asked.
    nodes.map(([name, port]) => ({ host: name || host, port })),
  );
}

function movedTo(message: string, asked: RedisHost | undefined): RedisHost | undefined {
  const [, host, port] = MOVED.exec(message) ?? [];
  if (port === undefined) return undefined;
  return { host: host || (asked?.host ?? '127.0.0.1'), port: Number(port) };
}

function notUsable(): TallyError {
  return new TallyError(
    'REDIS_IS_CLUSTER',
    'REDIS_URL leads to a Redis Cluster, and the keys of the queue do not lie in one slot of it: write the URL as redis+cluster://host,host (or rediss+cluster://), or put QUEUE_PREFIX in braces',
  );
}
