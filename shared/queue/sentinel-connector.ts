import type { Redis, SentinelConnectionOptions } from 'ioredis';
import { ioredis } from './packages.ts';

/** What ioredis' connector does for each sentinel; private, and unchanged since its version 4. */
interface Internals {
  connectToSentinel(...args: readonly unknown[]): Redis;
  /** @returns the address of the master */
  resolve(...args: readonly unknown[]): Promise<unknown>;
}

/**
 * Follows the master that sentinels name, as ioredis does, and says why a sentinel can't be reached. ioredis by itself
 * says "Connection is closed" of a port where nobody listens, a name that nobody knows and a certificate alike.
 */
export class TellingSentinelConnector extends ioredis.SentinelConnector {
  /** @param options those of the connection */
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
    const internals = this as unknown as Internals;
    const open = internals.connectToSentinel.bind(this);
    const resolve = internals.resolve.bind(this);
    let lost: Error | undefined;
    internals.connectToSentinel = (...args) => {
      const client = open(...args);
      client.on('error', (error: Error) => (lost ??= error));
      return client;
    };
    internals.resolve = async (...args) => {
      lost = undefined;
      try {
        return await resolve(...args);
      } catch (error) {
        throw lost ?? error;
      }
    };
  }
}
