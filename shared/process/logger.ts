import { pino, type Logger } from 'pino';
import type { PrettyOptions } from 'pino-pretty';
import type { Config } from './config.ts';
import { printable, printableJson } from '../printable.ts';
import { parseRedisUrl } from '../queue/redis-url.ts';
import { parseDatabaseUrl } from '../postgres/url.ts';

export type { Logger } from 'pino';

const PASSWORD_IN_URL = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/"']*):[^\s@/"']+@/gi;

/**
 * Takes passwords out of a text: those in URLs of any kind, and the given ones wherever they stand.
 * Works on the finished text, so that it doesn't matter in which field of which error they are.
 */
export function scrubSecrets(text: string, secrets: readonly string[]): string {
  let clean = text;
  // The longest first: one may begin like another. In a line of JSON, some characters are escaped.
  const forms = secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  for (const secret of forms.toSorted((a, b) => b.length - a.length)) {
    clean = clean.replaceAll(secret, '***');
  }
  return clean.replaceAll(PASSWORD_IN_URL, '$1:***@');
}

/** Passwords and tokens of a config in every form in which they may turn up in a text. */
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
    // A very short one would blank out half of the log and protects nothing.
    (secret): secret is string => secret !== undefined && secret.length >= 4,
  );
}

function passwordsOfDatabase(url: string | undefined): string[] {
  if (url === undefined) return [];
  // As it was written, too.
  return [parseDatabaseUrl(url).password, written(url)];
}

function passwordsOfRedis(url: string | undefined): string[] {
  if (url === undefined) return [];
  const { password, sentinelPassword } = parseRedisUrl(url);
  const parameters = [...url.matchAll(/[?&]\w*password=([^&]*)/g)].map(([, value]) => value ?? '');
  return [password, sentinelPassword, written(url), ...parameters];
}

/**
 * How a line of a log is shown on a terminal, for pino-pretty. The message may have text from outside in it: a line
 * break there would begin what looks like another line.
 */
export const TERMINAL_FORMAT: PrettyOptions = {
  ignore: 'pid,hostname,role',
  messageFormat: ({ role, msg }) => `${String(role)}: ${printable(String(msg))}`,
};

/** Takes one line of a log, JSON text with its line end. */
export type LogWriter = (line: string) => void;

/** @returns a writer to this stream: of JSON lines, or of readable ones on a terminal */
export async function streamWriter(output: NodeJS.WriteStream): Promise<LogWriter> {
  if (!output.isTTY) return (line) => void output.write(line);
  // Only terminals pay for loading it.
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory(TERMINAL_FORMAT);
  return (line) => void output.write(pretty(line));
}

/**
 * The log of one process, as JSON lines, never with a password in them.
 * @param role which kind of process: worker, producer, dashboard, start
 */
export function createLogger(config: Config, role: string, write: LogWriter): Logger {
  const secrets = secretsOf(config);
  return pino(
    {
      level: config.LOG_LEVEL,
      base: { role },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line) => write(printableJson(scrubSecrets(line, secrets))) },
  );
}

/** A log that nobody reads, for commands that print their own one line. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}

function written(url: string): string {
  return /:\/\/[^:/]*:(.*)@/.exec(url)?.[1] ?? '';
}
