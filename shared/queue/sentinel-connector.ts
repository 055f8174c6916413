import type { Redis, SentinelConnectionOptions } from 'ioredis';
import { ioredis } from './packages.ts';

/** What ioredis' connector does for each sentinel. Private, and unchanged since version 4. */
interface Internals {
  connectToSentinel(...args: readonly unknown[]): Redis;
  /** @returns the master's address */
  resolve(...args: readonly unknown[]): Promise<unknown>;
}

/**
 * Follows the master that the sentinels name, as ioredis does, and reports why a sentinel can't be
 * reached. ioredis itself says "Connection is closed" for a port where nobody listens, an unknown
 * name and a certificate error alike.
 */
export class TellingSentinelConnector extends ioredis.SentinelConnector {
  /** @param options of the connection */
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
