import { types as pgTypes } from 'pg';
import type pg from 'pg';
import { describeError, TallyError } from '../errors.ts';
import { adviceOnConnecting } from './advice.ts';
import { describeHost, type DatabaseAddress } from '../process/database-url.ts';
import { readTextFile } from '../process/named-file.ts';

/**
 * How `pg` turns columns into values: as by default, except that a bigint becomes a number. Ids are
 * checked to be below 2^53 where they come in.
 */
export const columnTypes: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === pgTypes.builtins.INT8 ? Number : pgTypes.getTypeParser(oid, format),
};

/** One way to reach one server, as options for `pg`. */
export interface Route {
  readonly where: string;
  readonly config: Pick<
    pg.ClientConfig,
    'host' | 'port' | 'user' | 'password' | 'database' | 'ssl' | 'options' | 'application_name'
  >;
}

/**
 * The ways to reach an address, in order: each of its servers, twice if encryption is optional.
 * @param name shown in pg_stat_activity, unless the URL sets application_name
 * @throws TallyError BAD_DATABASE_URL if a file of `sslrootcert`, `sslcert` or `sslkey` can't be
 *   read
 */
export function routesOf(address: DatabaseAddress, name: string): readonly Route[] {
  const { user, password, database, options, applicationName } = address;
  return address.hosts.flatMap(({ host, port }) =>
    encryptions(address, host).map((ssl) => ({
      where: describeHost({ host, port }),
      config: {
        host,
        port,
        ssl,
        application_name: applicationName || `tally ${name}`,
        // If they are left out, `pg` reads PGUSER and its kin.
        ...(user === '' ? {} : { user }),
        ...(password === '' ? {} : { password }),
        ...(database === '' ? {} : { database }),
        ...(options === '' ? {} : { options }),
      },
    })),
  );
}

function encryptions(
  address: DatabaseAddress,
  host: string,
): NonNullable<pg.ClientConfig['ssl']>[] {
  // As in libpq, a unix socket isn't encrypted.
  if (host.startsWith('/')) return [false];
  const { ca, cert, key } = address.sslFiles;
  const files = {
    ...(ca === '' || ca === 'system' ? {} : { ca: readFile('sslrootcert', ca) }),
    ...(cert === '' ? {} : { cert: readFile('sslcert', cert) }),
    ...(key === '' ? {} : { key: readFile('sslkey', key) }),
    // The name that the certificate must match. Without it, `pg` would check an IP address as
    // localhost.
    host,
  };
  const unverified = { ...files, rejectUnauthorized: false };
  const chainOnly = { ...files, checkServerIdentity: () => undefined };
  switch (address.sslMode) {
    case 'disable':
      return [false];
    case 'allow':
      return [false, unverified];
    case 'prefer':
      return [unverified, false];
    case 'require':
      return [ca === '' ? unverified : chainOnly];
    case 'verify-ca':
      return [chainOnly];
    case 'verify-full':
      return [files];
  }
}

function readFile(parameter: string, file: string): string {
  try {
    return readTextFile(file);
  } catch (error) {
    throw new TallyError(
      'BAD_DATABASE_URL',
      `DATABASE_URL: ${parameter} can't be read: ${describeError(error)}; check the path and that this user may read it`,
      { cause: error },
    );
  }
}

// Short, because the server has just answered the login.
const ROLE_TIMEOUT_MS = 1_000;

/**
 * Refuses a server that doesn't accept writes.
 * @throws Error that says why; or an error from `pg`
 */
export async function refuseReader(client: pg.ClientBase): Promise<void> {
  // The types of `pg` lack this option.
  const question = {
    text: `SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS reader`,
    query_timeout: ROLE_TIMEOUT_MS,
  };
  const { rows } = await client.query<{ standby: boolean; reader: boolean }>(question);
  const { standby, reader } = rows[0] ?? { standby: false, reader: false };
  if (standby || reader) {
    throw new Error(standby ? 'it is a standby' : 'it only reads (transaction_read_only is on)');
  }
}

/**
 * The error for when every route failed: what each server, or the network, answered and what to
 * do. Errors of `pg` contain no password.
 */
export function unreachable(failures: readonly { where: string; error: unknown }[]): TallyError {
  const told = new Map<string, string[]>();
  for (const { where, error } of failures) {
    const causes = told.get(where) ?? [];
    if (!causes.includes(describeError(error))) causes.push(describeError(error));
    told.set(where, causes);
  }
  const causes = [...told].map(
    ([where, texts]) => `Postgres at ${where} can't be used (${texts.join('; ')})`,
  );
  const cause = failures.at(-1)?.error;
  return new TallyError('DATABASE_AWAY', `${causes.join(', ')}; ${adviceOnConnecting(cause)}`, {
    cause,
  });
}
