import { freePort } from '../../cli/embedded/ports.ts';

// Below those that systems give to connections, and to servers that ask for any.
const FIRST = 20_000;
const COUNT = 12_000;

/**
 * A port of 127.0.0.1 for a server that comes back to it: nobody is given it while that server is stopped. Drawn, so that
 * runs beside each other hardly ever choose the same.
 */
export async function lastingPort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if ((await freePort(port)) === port) return port;
  }
}
