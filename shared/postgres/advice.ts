import { DatabaseError } from 'pg';
import { describeError } from '../errors.ts';

/** What to do about an error, found by its SQLSTATE or Node's code, followed by its text. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/^28/, 'check user and password in DATABASE_URL, and pg_hba.conf'],
  [/^3D000/, 'check the name of the database at the end of DATABASE_URL'],
  [
    /^57P03 .*Hot standby mode is disabled/,
    'the server is a standby that answers no queries (its hot_standby is off): point DATABASE_URL at the primary',
  ],
  [/^57P03/, 'the server is starting or stopping; Tally keeps trying'],
  [/^53300/, 'raise max_connections, run fewer processes or put a pooler in front'],
  [/^53100/, 'free space on the disk of the server'],
  [
    /transaction blocks not allowed in statement pooling mode/,
    'set pool_mode = transaction (or session) in PgBouncer',
  ],
  [/^42501 must be owner/, 'connect as that owner, or as a role that is a member of it'],
  [
    /^42501 query would be affected by row-level security/,
    'it hides rows from this role: give it BYPASSRLS, or connect as the owner of the table',
  ],
  [
    /^42501/,
    'tally doctor names every right that the role lacks, with the GRANT to run (docs/operations.md, "Rights in Postgres")',
  ],
  [
    /^25006/,
    'point DATABASE_URL at the primary, or set default_transaction_read_only to off for this role and database',
  ],
  [
    /^55P03/,
    'a session holds a lock on the table for long: tally doctor names it (section "lock waits")',
  ],
  [/^(ENOTFOUND|EAI_AGAIN)/, 'check the host in DATABASE_URL and the name service'],
  [/^(ECONNREFUSED|ENOENT)/, 'check host and port in DATABASE_URL and that the server runs'],
  [
    /^\S*(CERT|ALTNAME|VERIFY|SELF_SIGNED)/,
    'name the CA with sslrootcert=<file>, and a host it vouches for',
  ],
];

/**
 * Describes an error in one line for a log: what the server answered and, where known, what to do
 * about it. Errors of `pg` contain no password.
 */
export function explainDatabaseError(error: unknown): string {
  const text = describeError(error);
  // Errors of our own and those from Redis already say what to do.
  const advice = error instanceof DatabaseError ? knownAdvice(error) : undefined;
  return advice === undefined ? text : `${text}; ${advice}`;
}

/** What to do when no connection can be made. */
export function adviceOnConnecting(error: unknown): string {
  const text = describeError(error);
  if (/pg_hba\.conf.*(no encryption|SSL off)|SSL required/i.test(text)) {
    return 'the server wants TLS: add sslmode=require or sslmode=verify-full to DATABASE_URL';
  }
  if (/does not support SSL/i.test(text)) {
    return 'the server has no TLS: take sslmode out of DATABASE_URL';
  }
  if (/unsupported startup parameter/i.test(text)) {
    return `PgBouncer refuses what it doesn't know: take options= out of DATABASE_URL and run ALTER ROLE … SET search_path = … instead`;
  }
  if (/^it (is a standby|only reads)/.test(text)) {
    return 'name the server that accepts writes in DATABASE_URL, or promote one of these';
  }
  const known = knownAdvice(error);
  if (known !== undefined) return known;
  if (error instanceof AggregateError) return adviceOnConnecting(error.errors[0]);
  return error instanceof DatabaseError
    ? 'check DATABASE_URL'
    : 'check DATABASE_URL and that the server runs';
}

function knownAdvice(error: unknown): string | undefined {
  const code =
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  // Some causes share code and message, and only the detail tells them apart.
  const detail = error instanceof DatabaseError ? (error.detail ?? '') : '';
  const text = `${code} ${describeError(error)} ${detail}`;
  return ADVICE.find(([pattern]) => pattern.test(text))?.[1];
}
