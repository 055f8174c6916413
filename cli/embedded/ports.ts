import { createServer } from 'node:net';

const PORT_ATTEMPTS = 3;

/**
 * A port that could be bound on 127.0.0.1 a moment ago: the preferred one if it is free, else any.
 * Nothing keeps another program from taking it before it is used: see {@link onFreePort}.
 * @throws when not even one port can be bound
 */
export async function freePort(preferred: number | undefined): Promise<number> {
  if (preferred !== undefined && (await canBind(preferred))) return preferred;
  return await bind(0);
}

/**
 * Calls `start` with a free port and gives it another one when it failed because somebody else took
 * the port meanwhile.
 * @throws what `start` threw, when its port wasn't the reason or after three ports
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
  return await bind(port).then(
    () => true,
    () => false,
  );
}

async function bind(port: number): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(bound));
    });
  });
}
