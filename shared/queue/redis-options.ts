import type { RedisOptions } from 'ioredis';
import { describeError, UsageError } from '../errors.ts';
import { readTextFile } from '../process/named-file.ts';
import type { RedisAddress, TlsFiles } from '../process/redis-url.ts';
import { TellingSentinelConnector } from './sentinel-connector.ts';

/** ioredis' options, except the one that changes the types of answers. */
export type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

// Without this, ioredis waits for ever for a sentinel that hangs, and never asks the next one.
const SENTINEL_TIMEOUT_MS = 2_000;

/** A setting that holds a Redis URL. */
export type RedisSetting = 'REDIS_URL' | 'HARBOR_REDIS_URL';

/**
 * ioredis' options for an address; for a cluster's, for its first host.
 * @param setting named in the error
 * @throws UsageError if a file of the URL can't be read
 */
export function addressOptions(address: RedisAddress, setting: RedisSetting): ConnectionOptions {
  const { kind, hosts, path, master, username, password, db } = address;
  const tls = address.tls && readTls(address.tls, setting);
  const common: ConnectionOptions = {
    db,
    ...(username && { username }),
    // A user may have an empty password, which must be sent with the name.
    ...((username || password) && { password }),
    ...(tls && { tls }),
  };
  switch (kind) {
    case 'socket':
      return { ...common, path };
    case 'server':
    case 'cluster':
      return { ...common, ...hosts[0] };
    case 'sentinel':
      return {
        ...common,
        sentinels: [...hosts],
        name: master,
        Connector: TellingSentinelConnector,
        sentinelCommandTimeout: SENTINEL_TIMEOUT_MS,
        ...(address.sentinelUsername && { sentinelUsername: address.sentinelUsername }),
        ...(address.sentinelPassword && { sentinelPassword: address.sentinelPassword }),
        ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
        // The server that refuses writes was demoted; the sentinels know which one accepts them
        // now.
        reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
      };
  }
}

function readTls(files: TlsFiles, setting: RedisSetting): NonNullable<ConnectionOptions['tls']> {
  const read = (path: string): string => {
    try {
      return readTextFile(path);
    } catch (error) {
      throw new UsageError(
        `${setting} names a file that can't be read: ${describeError(error)}; check the path and that this user may read it`,
        { cause: error },
      );
    }
  };
  return {
    ...(files.ca && { ca: read(files.ca) }),
    ...(files.certificate && { cert: read(files.certificate) }),
    ...(files.key && { key: read(files.key) }),
  };
}
