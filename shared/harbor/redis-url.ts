import { TallyError } from '../errors.ts';

/** Where Harbor's Redis is, as one of its URLs says it. */
export interface HarborRedisAddress {
  /** The server, or the sentinels when there is a `master`. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** Name by which the sentinels know the server. */
  readonly master: string | undefined;
  /** Empty: none. Sentinels get the same ones as the server, as from Harbor. */
  readonly username: string;
  readonly password: string;
  readonly db: number;
  readonly tls: boolean;
}

const SHAPE = /^(rediss?)(\+sentinel)?:\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

/**
 * Reads the forms that Harbor writes into `_REDIS_URL_CORE` and `_REDIS_URL_HARBOR`:
 * `redis://[user:password@]host:port/<db>` and `redis+sentinel://[user:password@]host1:port1,host2:port2/<master>[/<db>]`,
 * or the same with `rediss`, which is TLS. Of the query only `db` counts, which overrides the path; the rest are settings of
 * Harbor's own client (`src/lib/cache/redis` in its sources).
 * @throws TallyError BAD_HARBOR_URL whose message is what is wrong, without repeating the URL, which may hold a password
 */
export function parseHarborRedisUrl(url: string): HarborRedisAddress {
  const [, scheme, sentinel, authority = '', path = '', query = ''] = SHAPE.exec(url) ?? [];
  if (scheme === undefined) {
    throw bad('must be a URL that starts with redis://, rediss:// or redis+sentinel://');
  }
  const at = authority.lastIndexOf('@');
  const parts = path.split('/').filter((part) => part !== '');
  const master = sentinel === undefined ? undefined : parts.shift();
  if (sentinel !== undefined && master === undefined) {
    throw bad('names no master after the sentinels');
  }
  const number = parts.shift() ?? '0';
  const db = new URLSearchParams(query).get('db') ?? number;
  if (!/^\d{1,5}$/.test(db) || parts.length > 0) {
    throw bad('must end with the number of a database');
  }
  const hosts = authority.slice(at + 1).split(',');
  if (sentinel === undefined && hosts.length > 1) {
    throw bad('has several hosts, which goes with redis+sentinel:// only');
  }
  return {
    hosts: hosts.map((text) => readHost(text, sentinel ? SENTINEL_PORT : REDIS_PORT)),
    master,
    ...readUser(at < 0 ? '' : authority.slice(0, at)),
    db: Number(db),
    tls: scheme === 'rediss',
  };
}

function readHost(text: string, defaultPort: number): { host: string; port: number } {
  const [, bracketed, plain, port] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const number = port === undefined ? defaultPort : Number(port);
  if (host === undefined || number > 65_535) throw bad('must name a host and a port');
  return { host, port: number };
}

function readUser(text: string): { username: string; password: string } {
  const colon = text.indexOf(':');
  try {
    return {
      username: decodeURIComponent(colon < 0 ? text : text.slice(0, colon)),
      password: colon < 0 ? '' : decodeURIComponent(text.slice(colon + 1)),
    };
  } catch {
    throw bad('has a % that does not begin an escape of UTF-8; write a % itself as %25');
  }
}

function bad(problem: string): TallyError {
  return new TallyError('BAD_HARBOR_URL', problem);
}
