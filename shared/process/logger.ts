import { pino, type Logger } from 'pino';
import type { PrettyOptions } from 'pino-pretty';
import type { Config } from './config.ts';
import { printable, printableJson } from './printable.ts';
import { parseRedisUrl } from './redis-url.ts';
import { parseDatabaseUrl } from './database-url.ts';

/** Pino's logger, which everything logs through. */
export type { Logger } from 'pino';

const PASSWORD_IN_URL = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/"']*):[^\s@/"']+@/gi;

/**
 * Replaces passwords in a text: those in URLs of any kind, and the given ones wherever they appear.
 * It works on the finished text, so it doesn't matter in which field of which error they are.
 */
export function scrubSecrets(text: string, secrets: readonly string[]): string {
  let clean = text;
  // Longest first, because one may start with another. JSON escapes some characters.
  const forms = secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  for (const secret of forms.toSorted((a, b) => b.length - a.length)) {
    clean = clean.replaceAll(secret, '***');
  }
  return clean.replaceAll(PASSWORD_IN_URL, '$1:***@');
}

/** The passwords and tokens of a config, in every form in which they may appear in a text. */
export function secretsOf(config: Config): string[] {
  const passwords = [
    ...passwordsOfDatabase(config.DATABASE_URL),
    ...passwordsOfRedis(config.REDIS_URL),
    ...passwordsOfRedis(config.HARBOR_REDIS_URL),
  ];
  return [
    ...passwords,
    config.API_TOKEN,
    config.DASHBOARD_PASSWORD,
    config.DASHBOARD_VIEWER_PASSWORD,
  ].filter(
    // Replacing a very short one would garble the log and protect nothing.
    (secret): secret is string => secret !== undefined && secret.length >= 4,
  );
}

function passwordsOfDatabase(url: string | undefined): string[] {
  if (url === undefined) return [];
  // Decoded, and as written.
  return [parseDatabaseUrl(url).password, written(url)];
}

function passwordsOfRedis(url: string | undefined): string[] {
  if (url === undefined) return [];
  const { password, sentinelPassword } = parseRedisUrl(url);
  const parameters = [...url.matchAll(/[?&]\w*password=([^&]*)/g)].map(([, value]) => value ?? '');
  return [password, sentinelPassword, written(url), ...parameters];
}

/**
 * How pino-pretty shows a log line on a terminal. Messages may contain text from outside, in which
 * a line break would start what looks like another line.
 */
export const TERMINAL_FORMAT: PrettyOptions = {
  ignore: 'pid,hostname,role',
  messageFormat: ({ role, msg }) => `${String(role)}: ${printable(String(msg))}`,
};

/** Takes one log line: JSON with its line break. */
export type LogWriter = (line: string) => void;

/** Creates a writer for a stream: JSON lines, or readable ones on a terminal. */
export async function streamWriter(output: NodeJS.WriteStream): Promise<LogWriter> {
  if (!output.isTTY) return (line) => void output.write(line);
  // Loaded only for terminals.
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory(TERMINAL_FORMAT);
  return (line) => void output.write(pretty(line));
}

/**
 * Creates the log of one process: JSON lines that never contain a password.
 * @param role the kind of process: worker, producer, dashboard, start
 * @param traceFields gives the fields that name the span in which a line is written
 */
export function createLogger(
  config: Config,
  role: string,
  write: LogWriter,
  traceFields?: () => object,
): Logger {
  const secrets = secretsOf(config);
  return pino(
    {
      level: config.LOG_LEVEL,
      base: { role },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      ...(traceFields && { mixin: traceFields }),
    },
    { write: (line) => write(printableJson(scrubSecrets(line, secrets))) },
  );
}

/** A log that discards everything, for commands that print a single line themselves. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}

function written(url: string): string {
  return /:\/\/[^:/]*:(.*)@/.exec(url)?.[1] ?? '';
}
