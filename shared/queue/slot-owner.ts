import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Redis } from 'ioredis';
import { describeError, TallyError } from '../errors.ts';
import { pause } from '../process/wait.ts';
import { hasHashTag } from './hash-tag.ts';
import { ioredis } from './packages.ts';
import type { ConnectionOptions } from './redis-options.ts';
import type { RedisAddress, RedisHost } from './redis-url.ts';

const ASK_TIMEOUT_MS = 2_000;
// What a node that doesn't serve the slot of a command answers: "MOVED 3999 127.0.0.1:6381".
const MOVED = /^MOVED \d+ (.*):(\d+)$/;

type Emit = (type: string, error: Error) => void;
type Socket = ReturnType<typeof connectTcp>;

/** What the connections that belong together know about the servers behind their URL. */
interface Topology {
  readonly address: RedisAddress;
  /** User, password and TLS. */
  readonly options: ConnectionOptions;
  /** A key in the slot of the queue; it needn't exist. */
  readonly key: string;
  readonly retryDelayMs: (attempt: number) => number;
  isCluster: boolean;
  /** The node that served the slot when it was asked for last. */
  owner: RedisHost | undefined;
  nodes: readonly RedisHost[];
  /** Why a cluster can't be used, from what it answered. */
  refusal: Error | undefined;
}

/**
 * Options by which a connection leads to the node of a Redis Cluster that serves the queue's slot, and goes to
 * another one when the slot does: all keys of a queue lie in one slot, so one connection is enough, and to whoever uses it
 * the cluster is a server that is unavailable for the time of a failover. A URL of one server is one until that server says it is a node of a
 * cluster.
 *
 * Nothing but the key's own slot is asked for, so that a user of Redis needs no right to look at the cluster.
 * @param key any key that begins with the prefix of the queue
 * @param retryDelayMs how long to wait before try n to find a node that answers
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
    // ioredis makes one for each connection, also for those that BullMQ opens like this one.
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
      // The command is sent again once there is a connection to the node that serves it.
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

  // ioredis gives a connection up for good when this rejects, so it tries until one is found.
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

  /** Called with what the server says of itself, as far as this user may know it, before the connection is used. */
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

/** Asks one node after the other, those first that were named as the owner. */
async function findOwner(topology: Topology): Promise<RedisHost | Error> {
  const { owner, nodes, address } = topology;
  const asked = new Set<string>();
  const toAsk = [...(owner ? [owner] : []), ...address.hosts, ...nodes];
  // That of the node which served the slot before, since it is asked first.
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
      // Behind a NAT or in a container, a node may tell an address that is good on its own network only.
      const told = known
        ? ''
        : ' (so the other nodes call it; see its cluster-announce-hostname and cluster-announce-ip)';
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
    // Who may not ask for a key is told the owner by the first command that meets the wrong node.
    if (message.startsWith('NOPERM')) return 'this one';
    return movedTo(message, host) ?? lost ?? (error instanceof Error ? error : new Error(message));
  } finally {
    node.disconnect();
  }
}

/** All nodes, to be asked when the owner is lost; a user without this right has those of the URL. */
async function otherNodes(node: Redis, { host }: RedisHost): Promise<RedisHost[]> {
  const ranges = (await node.cluster('SLOTS').catch(() => [])) as [
    number,
    number,
    ...[string | null, number][],
  ][];
  return ranges.flatMap(([, , ...nodes]) =>
    // A node that doesn't know its own name gives none: it is where it was asked.
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
