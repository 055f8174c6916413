import { z } from 'zod';
import { UsageError } from '../errors.ts';
import { startCommand } from './installation.ts';
import { withHashTag } from './hash-tag.ts';
import { parseRedisUrl } from './redis-url.ts';
import { parseDatabaseUrl } from './database-url.ts';
import { basePath } from './base-path.ts';
import {
  fromFile,
  optional,
  parsed,
  proxies,
  setting,
  whole,
  type Setting,
} from './setting-kinds.ts';
import { findMisspelt, isMadeByPlatform, type Environment } from './setting-names.ts';
import { readTextFile } from './named-file.ts';
import { readSetting, type Sources } from './setting-text.ts';

const redisUrl = parsed(parseRedisUrl);

// Every form except a cluster's, on which Harbor's own client wouldn't find its keys.
const harborRedisUrl = redisUrl.refine(
  (value) => !/^rediss?\+cluster:/i.test(value),
  'names a Redis Cluster, which Harbor does not support',
);

const httpUrl = z.url({
  protocol: /^https?$/,
  error: 'must be a URL that begins with http:// or https://',
});
const port = whole(0, 65_535);
const user = z.string().regex(/^[^:]{1,64}$/, 'must be 1 to 64 characters without a colon');
const secret = z.string().min(8, 'must have at least 8 characters');
const EXAMPLE_SECRETS = ['a-long-random-word', 'another-long-random-word'];
const DAY_MS = 86_400_000;

const SETTINGS = {
  DATABASE_URL: fromFile(
    optional(parsed(parseDatabaseUrl), 'postgres://tally:secret@127.0.0.1:5432/tally'),
  ),
  REDIS_URL: fromFile(optional(redisUrl, 'redis://127.0.0.1:6379')),
  QUEUE_PREFIX: setting(
    z.string().regex(/^[\w{}-]{1,64}$/, 'must be 1 to 64 letters, digits, _, - or braces'),
    'tally',
  ),
  WORKER_CONCURRENCY: setting(whole(1, 5_000), '200'),
  REFRESH_BATCH_SIZE: optional(whole(1, 5_000), '200'),
  REFRESH_INTERVAL_MS: setting(whole(0, DAY_MS), '250'),
  QUEUE_HIGH_WATER: setting(whole(1, 100_000_000), '50000'),
  RESEND_AFTER_MS: setting(whole(100, DAY_MS), '60000'),
  JOB_ATTEMPTS: setting(whole(1, 1_000), '5'),
  LOCK_DURATION_MS: setting(whole(500, DAY_MS), '30000'),
  STALLED_INTERVAL_MS: setting(whole(100, DAY_MS), '30000'),
  OUTBOX_POLL_MS: setting(whole(1, 60_000), '25'),
  BACKLOG_AFTER_MS: setting(whole(100, DAY_MS), '1000'),
  BACKLOG_JOBS: setting(whole(0, 64), '2'),
  RECONCILE_INTERVAL_MS: setting(whole(0, DAY_MS), '60000'),
  HARBOR_REDIS_URL: fromFile(optional(harborRedisUrl, 'redis://:secret@127.0.0.1:6379/0')),
  HARBOR_MARKER_DELAY_MS: setting(whole(0, DAY_MS), '35000'),
  // An IPv6 address may be written in brackets, as in a URL.
  HTTP_HOST: setting(
    z.string().transform((text) => text.replace(/^\[(.*)\]$/, '$1')),
    '127.0.0.1',
  ),
  PRODUCER_PORT: setting(port, '3001'),
  DASHBOARD_PORT: setting(port, '3000'),
  WORKER_PORT: setting(port, '0'),
  API_TOKEN: fromFile(optional(secret, 'a-long-random-word')),
  DASHBOARD_USER: fromFile(setting(user, 'admin')),
  DASHBOARD_PASSWORD: fromFile(optional(secret, 'a-long-random-word')),
  DASHBOARD_VIEWER_USER: fromFile(setting(user, 'viewer')),
  DASHBOARD_VIEWER_PASSWORD: fromFile(optional(secret, 'another-long-random-word')),
  DASHBOARD_ENVIRONMENT: optional(
    z.string().regex(/^[^\p{C}]{1,32}$/u, 'must be 1 to 32 printable characters'),
    'staging',
  ),
  BASE_PATH: { read: basePath, fallback: '/', example: '/tally' },
  TRUST_PROXY: { read: proxies(), fallback: 'off', example: '1' },
  FAILED_KEEP_COUNT: setting(whole(1, 10_000_000), '50000'),
  FAILED_KEEP_HOURS: setting(whole(1, 87_600), '168'),
  SHUTDOWN_GRACE_MS: setting(whole(100, 600_000), '8000'),
  LOG_LEVEL: setting(
    z.enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be one of trace, debug, info, warn, error, fatal, silent',
    ),
    'info',
  ),
  // OpenTelemetry's SDK reads this and its other variables itself; here it only turns tracing on.
  OTEL_EXPORTER_OTLP_ENDPOINT: optional(httpUrl, 'http://127.0.0.1:4318'),
} satisfies Record<string, Setting<unknown>>;

type SettingName = keyof typeof SETTINGS;

/** All settings: complete, validated and frozen. Names and units as in `.env.example`. */
export type Config = Readonly<{
  [Name in SettingName]: (typeof SETTINGS)[Name] extends Setting<infer T> ? T : never;
}>;

/** A config in which these settings have values. */
export type ConfigWith<Name extends SettingName> = Config & {
  readonly [Key in Name]: NonNullable<Config[Key]>;
};

/** A config with the URLs of both stores, which every long-running process needs. */
export type StoresConfig = ConfigWith<'DATABASE_URL' | 'REDIS_URL'>;

const TABLE: Readonly<Record<SettingName, Setting<unknown>>> = SETTINGS;
const ALL = Object.entries(TABLE);

/** All settings with their defaults, in the order of `.env.example`. */
export const SETTING_DEFAULTS: readonly (readonly [string, string | undefined])[] = ALL.map(
  ([name, { fallback }]) => [name, fallback] as const,
);

/** The variables that name a file with a setting's value, for example `API_TOKEN_FILE`. */
export const FILE_VARIABLES: readonly string[] = ALL.flatMap(([name, { file }]) =>
  file ? [`${name}_FILE`] : [],
);

/**
 * Reads the settings from the environment and the files that it names. Depends on nothing else, and
 * connects to nothing.
 * @param required settings that this process can't do without
 * @throws UsageError naming the first variable that is wrong, missing or misspelt, with an example
 */
export function loadConfig<Name extends SettingName = never>(
  required: readonly Name[] = [],
  environment: Environment = process.env,
  readFile: Sources['readFile'] = readTextFile,
): ConfigWith<Name> {
  refuseMisspelt(environment);
  const entries = ALL.map(([name, setting]) => {
    const text = readSetting(name, { environment, readFile }, setting.file) || setting.fallback;
    if (text === undefined) return [name, undefined];
    const result = setting.read.safeParse(text);
    if (!result.success) {
      const problem = result.error.issues[0]?.message ?? 'is not valid';
      throw new UsageError(`${name} ${problem}; for example ${name}=${setting.example}`);
    }
    return [name, result.data];
  });
  const config = settleQueuePrefix(Object.freeze(Object.fromEntries(entries) as Config));
  refuseContradictions(config);
  return requireSettings(config, required);
}

/**
 * Checks that these settings have values, and returns the same config typed accordingly.
 * @throws UsageError naming the first without a value, with an example
 */
export function requireSettings<Name extends SettingName>(
  config: Config,
  names: readonly Name[],
): ConfigWith<Name> {
  for (const name of names) {
    if (config[name] === undefined) {
      throw new UsageError(
        `${name} is not set; for example ${name}=${TABLE[name].example} (or run everything on this machine with: ${startCommand()})`,
      );
    }
  }
  return config as ConfigWith<Name>;
}

function refuseMisspelt(environment: Environment): void {
  const misspelt = findMisspelt(environment, [...ALL.map(([name]) => name), ...FILE_VARIABLES]);
  if (misspelt === undefined) return;
  throw new UsageError(
    `${misspelt.given} is not a setting of Tally; did you mean ${misspelt.meant}? Rename or unset it`,
  );
}

/** Whether a setting was set, in its variable or in a file. */
export function isGiven(name: SettingName, environment: Environment = process.env): boolean {
  return readSetting(name, { environment, readFile: () => 'set' }, TABLE[name].file) !== '';
}

/**
 * Settings whose variable a platform generated from a service's name (`PRODUCER_PORT=tcp://…`).
 * They count as unset.
 */
export function ignoredSettings(environment: Environment = process.env): readonly string[] {
  return ALL.flatMap(([name]) => (isMadeByPlatform(name, environment[name]) ? [name] : []));
}

// Settled before the first connection, because producer and dashboard open their queue even while
// Redis is unavailable.
function settleQueuePrefix(config: Config): Config {
  const { REDIS_URL: url, QUEUE_PREFIX: prefix } = config;
  if (url === undefined || parseRedisUrl(url).kind !== 'cluster') return config;
  return withSettings(config, { QUEUE_PREFIX: withHashTag(prefix) });
}

function refuseContradictions(config: Config): void {
  refuseExamples(config);
  if (config.DASHBOARD_VIEWER_PASSWORD === undefined) return;
  const problem =
    config.DASHBOARD_PASSWORD === undefined
      ? 'DASHBOARD_VIEWER_PASSWORD is set and DASHBOARD_PASSWORD is not, so nobody could change anything; set both'
      : config.DASHBOARD_VIEWER_PASSWORD === config.DASHBOARD_PASSWORD
        ? 'DASHBOARD_VIEWER_PASSWORD is the same as DASHBOARD_PASSWORD; choose another one'
        : config.DASHBOARD_VIEWER_USER === config.DASHBOARD_USER
          ? 'DASHBOARD_VIEWER_USER is the same as DASHBOARD_USER; choose another one, for example DASHBOARD_VIEWER_USER=viewer'
          : undefined;
  if (problem !== undefined) throw new UsageError(problem);
}

// Everyone can read these secrets in the documentation. A trusted proxy means that other machines
// can connect.
function refuseExamples(config: Config): void {
  if (isLoopback(config.HTTP_HOST) && config.TRUST_PROXY === false) return;
  for (const name of ['API_TOKEN', 'DASHBOARD_PASSWORD', 'DASHBOARD_VIEWER_PASSWORD'] as const) {
    if (config[name] !== undefined && EXAMPLE_SECRETS.includes(config[name])) {
      throw new UsageError(
        `${name} is the example from the documentation, which everyone knows, and other machines can connect; choose another one, for example with: openssl rand -hex 16`,
      );
    }
  }
}

/** A frozen copy of a config with some values replaced. */
export function withSettings<Changes extends Partial<Config>>(
  config: Config,
  changes: Changes,
): Config & Readonly<Changes> {
  return Object.freeze({ ...config, ...changes });
}

/** Whether only programs on this machine can reach a server that listens on this host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}
