import { describeError, TallyError } from '../errors.ts';
import type { RedisSetting } from './redis-options.ts';

/**
 * What an explanation may name: the setting to check, the Redis user, and the prefix of the keys.
 */
export interface RedisSettings {
  readonly variable: RedisSetting;
  readonly user: string;
  /** Whether the connection uses TLS. */
  readonly tls: boolean;
  readonly prefix?: string;
}

/**
 * What to check if a server accepts the connection but never answers. A server without TLS waits
 * for the end of what it takes for a command.
 */
export function adviceOnSilence({
  variable,
  tls,
}: Pick<RedisSettings, 'variable' | 'tls'>): string {
  const port =
    ', and that this port uses TLS: if not, start the URL with redis:// instead of rediss://';
  return `check ${variable} and that the server runs${tls ? port : ''}`;
}

/** Whether Redis answered with an error, as opposed to a lost connection or a timeout. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/** Whether the other side, or the network, closed the connection. */
export function isLostConnection(error: unknown): boolean {
  return LOST_CONNECTION.test(describeError(error));
}

/**
 * Explains an error in one line: the cause as the library or the server gave it and, where known,
 * what to do.
 * @param command the refused command, if the caller knows it better than the error does
 */
export function explainRedisError(
  error: unknown,
  settings: RedisSettings,
  command = commandOf(error),
): string {
  // Tally's own errors already say what to do.
  if (error instanceof TallyError) return error.message;
  // Since Redis 7, a script's error ends with the script's checksum and line.
  const cause = describeError(error).replace(/ script: [0-9a-f]{40}, on .*$/, '');
  const advice = adviceFor(`${codeOf(error)} ${cause}`, settings, command);
  return advice === undefined ? cause : `${cause.replace(/\.$/, '')}; ${advice}`;
}

function adviceFor(
  cause: string,
  { variable, user, tls, prefix = '<QUEUE_PREFIX>' }: RedisSettings,
  command: string | undefined,
): string | undefined {
  const allow = (rule: string): string => `allow it with: ACL SETUSER ${user} ${rule}`;
  // Redis 6.2 and 7 phrase these differently, and so do scripts and plain commands.
  if (/keys? (used as arguments|mentioned)|access the '.*' key/.test(cause)) {
    return allow(`~${prefix}:*`);
  }
  if (/channels? (used as|mentioned)/.test(cause)) return allow(`&${prefix}:*`);
  if (/^\S*\s*NOPERM|can't run this command/.test(cause)) {
    return allow(command === undefined ? '+@all -@dangerous' : `+${command}`);
  }
  return ADVICE.find(([pattern]) => pattern.test(cause))?.[1]({ variable, tls, prefix });
}

const LOST_CONNECTION = /ECONNRESET|EPIPE|Connection is closed/;

const ADVICE: readonly (readonly [
  RegExp,
  (settings: Required<Omit<RedisSettings, 'user'>>) => string,
])[] = [
  [/ECONNREFUSED/, ({ variable }) => `check ${variable} and that the server runs`],
  [
    /ENOTFOUND|EAI_AGAIN/,
    ({ variable }) => `the name does not resolve; check the host in ${variable}`,
  ],
  [
    /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|sentinels are unreachable.*timed out/,
    (settings) => `${adviceOnSilence(settings)}; look for firewalls in between`,
  ],
  [
    /sentinels are unreachable.*NOAUTH/,
    ({ variable }) =>
      `the user and password of ${variable} are for the server only: add ?sentinel_password=… for its sentinels`,
  ],
  [
    /WRONGPASS|NOAUTH|invalid password|without any password configured/,
    ({ variable }) => `check user and password in ${variable}`,
  ],
  [
    /protected mode/,
    ({ variable }) => `set requirepass on the server and put the password into ${variable}`,
  ],
  [
    /max number of clients/,
    () => 'raise maxclients on the server, or close other clients (CLIENT LIST shows them)',
  ],
  [
    LOST_CONNECTION,
    ({ variable, tls }) =>
      `the server closes connections at once; look at its log, its maxclients and protected-mode${tls ? '' : `; if this port uses TLS, start ${variable} with rediss://`}`,
  ],
  [
    /DB index is out of range/,
    ({ variable }) =>
      `the server has fewer databases (its setting "databases"); correct the number at the end of ${variable}`,
  ],
  [
    /SELECT is not allowed in cluster mode/,
    ({ variable }) =>
      `leave the number at the end of ${variable} out: a cluster has database 0 only`,
  ],
  [/LOADING/, () => 'it reads its data from disk; this ends by itself'],
  [/CLUSTERDOWN/, () => "the cluster doesn't serve the queue's keys; see CLUSTER INFO on a node"],
  [/READONLY/, ({ variable }) => `it is a replica; point ${variable} at the primary`],
  [/OOM/, () => 'free memory or raise maxmemory; keep maxmemory-policy noeviction'],
  [/MISCONF/, () => "it can't write to its disk; look at the disk and at the server's log"],
  [/NOREPLICAS/, () => 'bring its replicas back, or lower min-replicas-to-write'],
  [
    /WRONGTYPE|and is no /,
    ({ prefix }) => `something else has keys below ${prefix}:refresh; set another QUEUE_PREFIX`,
  ],
  [/BUSY/, () => 'a script of some client runs for too long; end it with SCRIPT KILL'],
  // Matched by message, because ioredis drops the code of a sentinel's error.
  [
    /self[- ]signed certificate|unable to verify the first certificate|unable to get (local )?issuer certificate/i,
    ({ variable }) =>
      `the certificate of Redis is not signed by an authority that is trusted here: name the file of the right one in the URL (${variable}=rediss://…?ssl_ca_certs=/path/to/ca.pem) or in NODE_EXTRA_CA_CERTS`,
  ],
  [/certificate has expired/, () => 'renew the certificate of Redis'],
  [
    /does not match certificate's altnames/,
    ({ variable }) =>
      `the certificate of Redis is for another name: use one of its names as the host in ${variable}`,
  ],
  [
    /wrong version number|packet length too long/i,
    ({ variable }) =>
      `this port of Redis does not use TLS: start ${variable} with redis:// instead of rediss://, or use the TLS port`,
  ],
  [
    /certificate required|bad certificate/i,
    ({ variable }) =>
      `Redis asks for a client's certificate: add ssl_certfile=/path/to/client.crt&ssl_keyfile=/path/to/client.key to ${variable}`,
  ],
];

function codeOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(codeOf).join(' ');
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** The command that Redis names in the error, else the one that ioredis sent. */
function commandOf(error: unknown): string | undefined {
  const named = /run the '([\w|-]+)' command/.exec(describeError(error))?.[1];
  if (named !== undefined) return named;
  if (!(error instanceof Error) || !('command' in error)) return undefined;
  const { name } = error.command as { name?: unknown };
  // EVAL itself was allowed; the command inside wasn't, and Redis doesn't name it.
  return typeof name === 'string' && !name.startsWith('eval') ? name : undefined;
}
