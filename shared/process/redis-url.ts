import { TallyError } from '../errors.ts';

/** A host and its port. */
export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

/** Paths of TLS files that a URL names. Without `ca`, Node's own certificate authorities apply. */
export interface TlsFiles {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
}

/** The contents of a Redis URL. */
export interface RedisAddress {
  /**
   * `cluster`: the hosts are some of its nodes; `sentinel`: they are sentinels; `socket`: there is
   * a path instead.
   */
  readonly kind: 'server' | 'cluster' | 'sentinel' | 'socket';
  readonly hosts: readonly RedisHost[];
  /** Path of the unix socket; empty for other kinds. */
  readonly path: string;
  /** The sentinels' name for the master; empty for other kinds. */
  readonly master: string;
  /** For the server only, never for its sentinels, as in Harbor. Empty: none. */
  readonly username: string;
  readonly password: string;
  /** For the sentinels, if they require it. Empty: none. */
  readonly sentinelUsername: string;
  readonly sentinelPassword: string;
  readonly db: number;
  readonly tls: TlsFiles | undefined;
}

const FORMS = 'redis://, rediss://, redis+sentinel://, redis+cluster:// or redis+unix://';
const SHAPE = /^([a-z+]+):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/is;
const KINDS: Readonly<Record<string, readonly [kind: RedisAddress['kind'], tls: boolean]>> = {
  redis: ['server', false],
  rediss: ['server', true],
  'redis+sentinel': ['sentinel', false],
  'rediss+sentinel': ['sentinel', true],
  'redis+cluster': ['cluster', false],
  'rediss+cluster': ['cluster', true],
  'redis+unix': ['socket', false],
  // redis-py's form.
  unix: ['socket', false],
};
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

/**
 * Parses a Redis URL. The forms include all that Harbor writes into `_REDIS_URL_CORE` and
 * `_REDIS_URL_HARBOR` (`src/lib/cache/redis` in its sources); parameters that only Harbor's client
 * knows are ignored.
 *
 * - `redis://[user:password@]host[:port][/number]`, with TLS `rediss://`
 * - `redis+sentinel://[user:password@]host[:port],host[:port]/master[/number]`, with TLS
 *   `rediss+sentinel://`
 * - `redis+cluster://[user:password@]host[:port],host[:port]`, with TLS `rediss+cluster://`
 * - `redis+unix://[user:password@]/path[?db=number]`, also `unix://`
 * @throws TallyError BAD_REDIS_URL. Its message continues the setting's name: what is wrong and how
 *   to write it, without repeating the URL, which may contain a password
 */
export function parseRedisUrl(url: string): RedisAddress {
  const [, scheme = '', authority = '', path = '', query = '', fragment] = SHAPE.exec(url) ?? [];
  const [kind, tls] = KINDS[scheme.toLowerCase()] ?? [];
  if (kind === undefined) throw bad(`must be a URL that starts with ${FORMS}`);
  if (fragment !== undefined || path.includes('@') || query.includes('@')) {
    throw bad('has a #, ?, / or @ where it stands for itself; write it as %23, %3F, %2F or %40');
  }
  const at = authority.lastIndexOf('@');
  const place = authority.slice(at + 1);
  const parameters = new URLSearchParams(query);
  const parameter = (name: string): string => parameters.get(name) ?? '';
  const user = readUser(authority.slice(0, Math.max(at, 0)));
  return {
    ...readPlace(kind, place, path, parameters.get('db')),
    kind,
    username: user.username || parameter('username'),
    password: user.password || parameter('password'),
    sentinelUsername: parameter('sentinel_username'),
    sentinelPassword: parameter('sentinel_password'),
    tls: readTls(tls === true, parameter),
  };
}

type Place = Pick<RedisAddress, 'hosts' | 'path' | 'master' | 'db'>;

function readPlace(
  kind: RedisAddress['kind'],
  place: string,
  path: string,
  dbParameter: string | null,
): Place {
  if (kind === 'socket') {
    if (place !== '' || path.length < 2) {
      throw bad('must have the full path of the socket, with three slashes: redis+unix:///path');
    }
    return { hosts: [], path: decode(path), master: '', db: readDb(dbParameter ?? '0') };
  }
  const parts = path.split('/').filter((part) => part !== '');
  const master = kind === 'sentinel' ? decode(parts.shift() ?? '') : '';
  if (kind === 'sentinel' && master === '') {
    throw bad('names no master after the sentinels: redis+sentinel://host1,host2/master');
  }
  const number = parts.shift() ?? '0';
  const db = readDb(dbParameter ?? number);
  if (parts.length > 0) throw bad('must end with the number of a database');
  if (kind === 'cluster' && db !== 0) {
    throw bad('has the number of a database, and a cluster has number 0 only; leave it out');
  }
  const texts = place.split(',');
  if (kind === 'server' && texts.length > 1) {
    throw bad('has several hosts; that goes with redis+sentinel:// and redis+cluster:// only');
  }
  const port = kind === 'sentinel' ? SENTINEL_PORT : REDIS_PORT;
  return { hosts: texts.map((text) => readHost(text, port)), path: '', master, db };
}

function readDb(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw bad('must end with the number of a database');
  return Number(text);
}

function readHost(text: string, defaultPort: number): RedisHost {
  const [, bracketed, plain, port] =
    /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = port === undefined ? defaultPort : Number(port);
  if (host === undefined && /^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:/.test(text)) {
    throw bad('has an IPv6 address without brackets; write it as redis://[::1]:6379');
  }
  if (host === undefined || number > 65_535) throw bad('must name a host and a port');
  return { host, port: number };
}

function readUser(text: string): { username: string; password: string } {
  const colon = text.indexOf(':');
  if (text !== '' && colon < 0) {
    throw bad('has a user without a password; a password alone is written redis://:password@host');
  }
  return {
    username: decode(text.slice(0, Math.max(colon, 0))),
    password: decode(text.slice(colon + 1)),
  };
}

// Parameter names as in redis-py.
function readTls(secure: boolean, parameter: (name: string) => string): TlsFiles | undefined {
  const [ca, certificate, key] = ['ssl_ca_certs', 'ssl_certfile', 'ssl_keyfile'].map(
    (name) => parameter(name) || undefined,
  );
  if (secure) return { ca, certificate, key };
  if ((ca ?? certificate ?? key) === undefined) return undefined;
  throw bad('names a TLS file, but does not use TLS; start it with rediss://');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw bad('has a % that does not start a UTF-8 escape; write a literal % as %25');
  }
}

function bad(problem: string): TallyError {
  return new TallyError('BAD_REDIS_URL', problem);
}
