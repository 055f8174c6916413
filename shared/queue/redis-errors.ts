import { describeError } from '../errors.ts';
import type { RedisSetting } from './redis-options.ts';

// By the message: the code of an error that a sentinel gave is lost in that of ioredis.
const UNKNOWN_AUTHORITY =
  /self[- ]signed certificate|unable to verify the first certificate|unable to get (local )?issuer certificate/i;

/**
 * An error of a connection to Redis, with what to do about it where its own words don't say that.
 * @param setting where the URL stands
 */
export function explainRedisError(error: unknown, setting: RedisSetting): Error {
  const text = describeError(error);
  const advice = adviceFor(text, setting);
  if (advice === undefined) return error instanceof Error ? error : new Error(text);
  return new Error(`${text}; ${advice}`, { cause: error });
}

function adviceFor(text: string, setting: RedisSetting): string | undefined {
  if (UNKNOWN_AUTHORITY.test(text)) {
    return `the certificate of Redis is not signed by an authority that is trusted here: name the file of the right one in the URL (${setting}=rediss://…?ssl_ca_certs=/path/to/ca.pem) or in NODE_EXTRA_CA_CERTS`;
  }
  if (/does not match certificate's altnames/.test(text)) {
    return `the certificate of Redis is for another name: use one of its names as the host in ${setting}`;
  }
  if (/wrong version number|packet length too long/i.test(text)) {
    return `this port of Redis has no TLS: let ${setting} start with redis instead of rediss, or use the port that has`;
  }
  if (/certificate required|bad certificate/i.test(text)) {
    return `Redis asks for a client's certificate: add ssl_certfile=/path/to/client.crt&ssl_keyfile=/path/to/client.key to ${setting}`;
  }
  if (/sentinels are unreachable.*NOAUTH/.test(text)) {
    return `the user and password of ${setting} are for the server only: add ?sentinel_password=… for its sentinels`;
  }
  return undefined;
}
