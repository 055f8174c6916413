import { TallyError } from '../errors.ts';

/** The contents of a Postgres URL. Empty strings: the URL doesn't say. */
export interface DatabaseAddress {
  /**
   * Servers in the order in which they are tried. A host that begins with / is the folder of a unix
   * socket.
   */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Whether only a server that accepts writes will do. */
  readonly mustAcceptWrites: boolean;
  /** How an encrypted connection is verified, as in libpq. */
  readonly sslMode: (typeof SSL_MODES)[number];
  /** Paths of files, as written. */
  readonly sslFiles: { readonly ca: string; readonly cert: string; readonly key: string };
  /** Options for the server, for example `-c search_path=harbor`. */
  readonly options: string;
  readonly applicationName: string;
}

const SCHEME = /^postgres(?:ql)?:\/\//;
const HOST = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]*))(?::(\d{1,5}))?$/;
const DEFAULT_PORT = 5432;
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
const READ_ONLY_TARGETS = ['read-only', 'standby', 'prefer-standby'];
const WRITABLE_TARGETS = ['read-write', 'primary'];
const PARAMETERS = [
  'host',
  'port',
  'user',
  'password',
  'dbname',
  'options',
  'application_name',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'target_session_attrs',
];
// Parameters of libpq that have no effect here: Tally sets its own timeouts and keepalives, uses
// UTF-8, and has neither GSSAPI nor channel binding to disable.
const IGNORED = [
  'connect_timeout',
  'client_encoding',
  'channel_binding',
  'fallback_application_name',
  'gssencmode',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'load_balance_hosts',
  'uselibpqcompat',
];

/**
 * Parses `postgres://[user[:password]@][host[:port]][,…][/database][?parameter=value&…]` as libpq
 * does (section "Connection URIs" of the Postgres manual). A password may contain `#`, `?` and `@`
 * unescaped.
 * @throws TallyError BAD_DATABASE_URL with what is wrong as its message, without repeating what may
 *   be a secret
 */
export function parseDatabaseUrl(url: string): DatabaseAddress {
  const scheme = SCHEME.exec(url)?.[0];
  if (scheme === undefined) {
    throw bad('must be a URL that starts with postgres:// or postgresql://');
  }
  const { credentials, hosts, database, query } = split(url.slice(scheme.length));
  const parameters = readParameters(query);
  const [user, ...rest] = credentials.split(':');
  const target = parameters.get('target_session_attrs') ?? 'any';
  if (READ_ONLY_TARGETS.includes(target)) {
    throw bad(`has target_session_attrs=${target}, but Tally writes; use read-write`);
  }
  if (target !== 'any' && !WRITABLE_TARGETS.includes(target)) {
    throw bad('has a target_session_attrs that is none of any, read-write, primary');
  }
  const sslMode = SSL_MODES.find((mode) => mode === (parameters.get('sslmode') ?? 'disable'));
  if (sslMode === undefined) throw bad(`has an sslmode that is none of ${SSL_MODES.join(', ')}`);
  const servers = readHosts(hosts, parameters.get('host'), parameters.get('port'));
  return {
    hosts: servers,
    user: parameters.get('user') ?? decode(user ?? ''),
    password: parameters.get('password') ?? decode(rest.join(':')),
    database: parameters.get('dbname') ?? decode(database),
    // Among several servers, one that only reads is of no use.
    mustAcceptWrites: target !== 'any' || servers.length > 1,
    sslMode,
    sslFiles: {
      ca: parameters.get('sslrootcert') ?? '',
      cert: parameters.get('sslcert') ?? '',
      key: parameters.get('sslkey') ?? '',
    },
    options: parameters.get('options') ?? '',
    applicationName: parameters.get('application_name') ?? '',
  };
}

/** A server's address, for a message. */
export function describeHost({ host, port }: { host: string; port: number }): string {
  if (host.startsWith('/')) return `${host}/.s.PGSQL.${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function split(text: string): {
  credentials: string;
  hosts: string;
  database: string;
  query: string;
} {
  const slash = text.indexOf('/');
  const head = slash < 0 ? text : text.slice(0, slash);
  const firstAt = head.indexOf('@');
  if (firstAt < 0 && /^[^?]*@/.test(text)) {
    throw bad('has a / in its user or password (write it as %2F) or an @ after the host (%40)');
  }
  // A password may contain a question mark, so the query starts after the credentials.
  const mark = head.indexOf('?', firstAt + 1);
  const authority = mark < 0 ? head : head.slice(0, mark);
  const at = authority.lastIndexOf('@');
  const [path = '', ...query] =
    mark < 0 ? (slash < 0 ? '' : text.slice(slash + 1)).split('?') : ['', text.slice(mark + 1)];
  return {
    credentials: at < 0 ? '' : authority.slice(0, at),
    hosts: authority.slice(at + 1),
    database: path,
    query: query.join('?'),
  };
}

function readParameters(query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const pair of query.split('&').filter((text) => text !== '')) {
    const [name = '', ...value] = pair.split('=');
    const key = decode(name);
    if (IGNORED.includes(key)) continue;
    if (key === 'ssl' && value.join('=') === 'true') {
      parameters.set('sslmode', 'require');
      continue;
    }
    if (!PARAMETERS.includes(key)) {
      // Not printed if it may be the tail of a password.
      const shown = /^[a-z_]{1,32}$/.test(key) ? ` ${key}` : '';
      throw bad(`has an unknown parameter${shown}; those it may have are ${PARAMETERS.join(', ')}`);
    }
    parameters.set(key, decode(value.join('=')));
  }
  return parameters;
}

function readHosts(
  authority: string,
  hostParameter: string | undefined,
  portParameter: string | undefined,
): DatabaseAddress['hosts'] {
  const written = authority.split(',').map((text) => {
    const [, bracketed, plain = '', port] = HOST.exec(text) ?? [];
    const number = port === undefined ? undefined : Number(port);
    if (!HOST.test(text) || (number !== undefined && (number < 1 || number > 65_535))) {
      throw bad(
        'has something other than host:port after the @ (in a password, write / as %2F and % as %25)',
      );
    }
    return { host: bracketed ?? decode(plain), port: number };
  });
  const hosts = hostParameter?.split(',') ?? written.map(({ host }) => host);
  if (hosts.some((host) => host === '')) {
    throw bad(
      'must be a URL that starts with postgres:// or postgresql:// and names a host (a unix socket: postgres:///tally?host=/var/run/postgresql)',
    );
  }
  const ports = portParameter?.split(',') ?? written.map(({ port }) => port);
  if (![1, hosts.length].includes(ports.length)) {
    throw bad(`has ${hosts.length} hosts and ${ports.length} ports; name one port or one for each`);
  }
  return hosts.map((host, index) => {
    const port = Number((ports.length === 1 ? ports[0] : ports[index]) || DEFAULT_PORT);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw bad('has an invalid port');
    return { host, port };
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw bad('has a % that does not start a UTF-8 escape; write a literal % as %25');
  }
}

function bad(problem: string): TallyError {
  return new TallyError('BAD_DATABASE_URL', problem);
}
