import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * What becomes of bytes.
 *
 * - `pass`: they go on, `delayMs` later.
 * - `hold`: they wait until the mode is another one: a server that hangs, a network that comes back.
 * - `swallow`: they vanish and nobody is told. A connection that has lost bytes stays silent for good, as one whose
 *   host has lost its power; a connection that is made under another mode works.
 * - `refuse`: new connections are reset at once; those that exist pass.
 */
type Mode = 'pass' | 'hold' | 'swallow' | 'refuse';

export interface TcpProxy {
  mode: Mode;
  delayMs: number;
  /** How many chunks are held right now. */
  readonly held: number;
  /** Sees every chunk before it goes on and may call `reset`; then the chunk goes nowhere. */
  watch: ((chunk: Buffer, from: 'client' | 'server') => void) | undefined;
  /** The URL with this proxy in place of its server. */
  through(url: string): string;
  /** Where connections lead that are made from now on. */
  leadTo(url: string): void;
  /** From now on swallows what comes over the connections that there are; new ones work. */
  silence(): void;
  /** Ends all connections with a TCP reset, on both sides. */
  reset(): void;
  /**
   * Ends on the server's side what has lost bytes and whose client has given up: what a server's keepalive does to a
   * connection whose other end has lost its power, after minutes.
   */
  bury(): void;
  close(): Promise<void>;
}

/** Opens a proxy on 127.0.0.1 before the server of a URL. */
export async function openProxy(url: string): Promise<TcpProxy> {
  let target = addressOf(url);
  const sockets = new Set<Socket>();
  const pairs = new Set<{ dead: boolean }>();
  const abandoned = new Set<Socket>();
  const server = createServer((client) => {
    if (proxy.mode === 'refuse') {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(target);
    const pair = { dead: false };
    pairs.add(pair);
    client.on('close', () => {
      pairs.delete(pair);
      if (pair.dead && !upstream.destroyed) abandoned.add(upstream);
    });
    upstream.on('close', () => abandoned.delete(upstream));
    forward(proxy, pair, client, upstream, 'client');
    forward(proxy, pair, upstream, client, 'server');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => undefined);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const proxy = {
    mode: 'pass' as Mode,
    delayMs: 0,
    held: 0,
    watch: undefined as TcpProxy['watch'],
    through: (of: string) => Object.assign(new URL(of), { host: `127.0.0.1:${port}` }).href,
    leadTo: (to: string) => void (target = addressOf(to)),
    silence: () => pairs.forEach((pair) => (pair.dead = true)),
    reset: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    bury: () => abandoned.forEach((socket) => socket.resetAndDestroy()),
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      proxy.reset();
      await closed;
    },
  };
  return proxy;
}

function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

function forward(
  proxy: Pick<TcpProxy, 'mode' | 'delayMs' | 'watch'> & { held: number },
  pair: { dead: boolean },
  from: Socket,
  to: Socket,
  name: 'client' | 'server',
): void {
  // One after the other, so that bytes that were held or delayed keep their order.
  let last: Promise<void> = Promise.resolve();
  const inTurn = (act: () => void): void => {
    last = last.then(async () => {
      if (proxy.delayMs > 0) await delay(proxy.delayMs);
      proxy.held++;
      while (proxy.mode === 'hold' && !from.destroyed) await delay(5);
      proxy.held--;
      if (proxy.mode === 'swallow') pair.dead = true;
      if (!pair.dead) act();
    });
  };
  from.on('data', (chunk: Buffer) =>
    inTurn(() => {
      proxy.watch?.(chunk, name);
      if (!to.destroyed) to.write(chunk);
    }),
  );
  from.on('end', () => inTurn(() => to.end()));
  // Not in turn: a reset is passed on at once, unless the network swallows that, too.
  from.on('close', () => {
    if (from.errored && !pair.dead) to.resetAndDestroy();
  });
}
