import { createServer } from 'node:net';

const PORT_ATTEMPTS = 3;
const LOOPBACK = '127.0.0.1';

/** A port that this process holds. */
export interface ReservedPort {
  readonly port: number;
  /** Frees the port for the process that is to listen on it. */
  release(): Promise<void>;
}

/**
 * Takes a port and holds it: the preferred one if it is free, else any. Packages such as `get-port`
 * close the port before they return its number, so anyone could take it until it is used.
 * @throws an error from Node if no port can be bound on this host, or this user may not use the
 *   preferred one
 */
export async function reservePort(
  preferred: number | undefined,
  host = LOOPBACK,
): Promise<ReservedPort> {
  if (preferred === undefined) return await bind(0, host);
  try {
    return await bind(preferred, host);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error;
    return await bind(0, host);
  }
}

/**
 * A port that was free on 127.0.0.1 a moment ago: the preferred one if possible, else any. Another
 * program may take it before it is used: see {@link onFreePort}.
 * @throws an error from Node if no port can be bound
 */
export async function freePort(preferred: number | undefined): Promise<number> {
  const reserved = await reservePort(preferred);
  await reserved.release();
  return reserved.port;
}

/**
 * Calls `start` with a free port, and again with another one if it failed because somebody else
 * took the port meanwhile.
 * @throws what `start` threw, if the port wasn't the reason or after three ports
 */
export async function onFreePort<T>(
  preferred: number | undefined,
  start: (port: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? preferred : undefined);
    try {
      return await start(port);
    } catch (error) {
      if (attempt === PORT_ATTEMPTS || (await canBind(port))) throw error;
    }
  }
}

async function canBind(port: number): Promise<boolean> {
  const reserved = await bind(port, LOOPBACK).catch(() => undefined);
  await reserved?.release();
  return reserved !== undefined;
}

async function bind(port: number, host: string): Promise<ReservedPort> {
  return await new Promise((resolve, reject) => {
    // A client that connects too early must not wait for an answer.
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => {
      // Holding a port must not keep the process alive.
      server.unref();
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address !== null ? address.port : port,
        release: () => new Promise((closed) => server.close(() => closed())),
      });
    });
  });
}
