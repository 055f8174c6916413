import { isIP } from 'node:net';
import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { describeError, UsageError } from '../errors.ts';
import { parseHarborRedisUrl } from '../harbor/redis-url.ts';

/** A variable of the environment: how it is read, its default as text, and an example to print. */
interface Setting<T> {
  readonly read: z.ZodType<T, string>;
  readonly fallback?: string;
  readonly example: string;
}

function setting<T>(read: z.ZodType<T, string>, fallback: string): Setting<T> {
  return { read, fallback, example: fallback };
}

function optional<T>(read: z.ZodType<T, string>, example: string): Setting<T | undefined> {
  return { read, example };
}

function whole(min: number, max: number): z.ZodType<number, string> {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, problem)
    .transform(Number)
    .refine((value) => value >= min && value <= max, problem);
}

// The value isn't repeated in the problem: it may hold a password.
function url(schemes: readonly string[]): z.ZodType<string, string> {
  const problem = `must be a URL that starts with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`;
  return z
    .string()
    .refine((value) => {
      if (!URL.canParse(value)) return false;
      const parsed = new URL(value);
      return schemes.includes(parsed.protocol) && parsed.hostname !== '';
    }, problem)
    .refine(isDecodable, 'has a % that does not begin an escape of UTF-8; write a % itself as %25');
}

/** Proxies in front of a server: none, how many, or which (Express' setting "trust proxy"). */
export type TrustedProxies = false | number | readonly string[];

// "true" isn't taken: it would let any client choose the address it is seen under.
function proxies(): z.ZodType<TrustedProxies, string> {
  const problem =
    'must be off, a number of proxies from 1 to 32, or a list of addresses, subnets, loopback, linklocal and uniquelocal';
  return z.string().transform((text, context): TrustedProxies => {
    if (text === 'off') return false;
    if (/^([1-9]|[12]\d|3[0-2])$/.test(text)) return Number(text);
    const list = text.split(',').map((item) => item.trim());
    if (list.every(isProxy)) return list;
    context.addIssue({ code: 'custom', message: problem });
    return z.NEVER;
  });
}

function isProxy(text: string): boolean {
  if (['loopback', 'linklocal', 'uniquelocal'].includes(text)) return true;
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  const most = version === 6 ? 128 : 32;
  const bitsAreRight =
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 1 && Number(bits) <= most);
  return version !== 0 && bitsAreRight && more.length === 0;
}

const harborRedisUrl: z.ZodType<string, string> = z.string().superRefine((value, context) => {
  try {
    parseHarborRedisUrl(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: describeError(error) });
  }
});

const port = whole(0, 65_535);
const user = z.string().regex(/^[^:]{1,64}$/, 'must be 1 to 64 characters without a colon');
const secret = z.string().min(8, 'must have at least 8 characters');
const DAY_MS = 86_400_000;

const SETTINGS = {
  DATABASE_URL: optional(
    url(['postgres:', 'postgresql:']),
    'postgres://tally:secret@127.0.0.1:5432/tally',
  ),
  REDIS_URL: optional(url(['redis:', 'rediss:']), 'redis://127.0.0.1:6379'),
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
  RECONCILE_INTERVAL_MS: setting(whole(0, DAY_MS), '60000'),
  HARBOR_REDIS_URL: optional(harborRedisUrl, 'redis://:secret@127.0.0.1:6379/0'),
  HARBOR_MARKER_DELAY_MS: setting(whole(0, DAY_MS), '35000'),
  HTTP_HOST: setting(z.string().min(1), '127.0.0.1'),
  PRODUCER_PORT: setting(port, '3001'),
  DASHBOARD_PORT: setting(port, '3000'),
  WORKER_PORT: setting(port, '0'),
  API_TOKEN: optional(secret, 'a-long-random-word'),
  DASHBOARD_USER: setting(user, 'admin'),
  DASHBOARD_PASSWORD: optional(secret, 'a-long-random-word'),
  DASHBOARD_VIEWER_USER: setting(user, 'viewer'),
  DASHBOARD_VIEWER_PASSWORD: optional(secret, 'another-long-random-word'),
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
} satisfies Record<string, Setting<unknown>>;

type SettingName = keyof typeof SETTINGS;

/** Every variable that Tally reads, complete, validated and frozen. Names and units as in `.env.example`. */
export type Config = Readonly<{
  [Name in SettingName]: (typeof SETTINGS)[Name] extends Setting<infer T> ? T : never;
}>;

/** Names of all variables with their defaults, in the order of `.env.example`. */
export const SETTING_DEFAULTS: readonly (readonly [string, string | undefined])[] = Object.entries(
  SETTINGS as Record<string, Setting<unknown>>,
).map(([name, { fallback }]) => [name, fallback] as const);

/**
 * Reads the environment. Pure: the same source gives the same config, and nothing is connected.
 * @param required variables this process can't do without
 * @throws UsageError naming the first variable that is wrong, missing or misspelt, with an example
 */
export function loadConfig(
  required: readonly SettingName[] = [],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Config {
  refuseMisspelt(environment);
  const entries = Object.entries(SETTINGS as Record<string, Setting<unknown>>).map(
    ([name, { read, fallback, example }]) => {
      // An empty variable counts as unset: that is how compose files and shells clear one.
      const text = environment[name] || fallback;
      if (text === undefined) return [name, undefined];
      const result = read.safeParse(text);
      if (!result.success) {
        const problem = result.error.issues[0]?.message ?? 'is not valid';
        throw new UsageError(`${name} ${problem}; for example ${name}=${example}`);
      }
      return [name, result.data];
    },
  );
  const config = Object.freeze(Object.fromEntries(entries) as Config);
  refuseContradictions(config);
  for (const name of required) {
    if (config[name] === undefined) {
      throw new UsageError(
        `${name} is not set; for example ${name}=${SETTINGS[name].example} (or run everything on this machine with: npm start)`,
      );
    }
  }
  return config;
}

function refuseContradictions(config: Config): void {
  if (config.DASHBOARD_VIEWER_PASSWORD === undefined) return;
  const problem =
    config.DASHBOARD_PASSWORD === undefined
      ? 'DASHBOARD_VIEWER_PASSWORD is set and DASHBOARD_PASSWORD is not, so that nobody could change anything; set both'
      : config.DASHBOARD_VIEWER_PASSWORD === config.DASHBOARD_PASSWORD
        ? 'DASHBOARD_VIEWER_PASSWORD is the same as DASHBOARD_PASSWORD; choose another one'
        : config.DASHBOARD_VIEWER_USER === config.DASHBOARD_USER
          ? 'DASHBOARD_VIEWER_USER is the same as DASHBOARD_USER; choose another one, for example DASHBOARD_VIEWER_USER=viewer'
          : undefined;
  if (problem !== undefined) throw new UsageError(problem);
}

/** A config with the given values in place of those that were read, frozen again. */
export function withSettings(config: Config, changes: Partial<Config>): Config {
  return Object.freeze({ ...config, ...changes });
}

/** True when only programs of this machine can reach a server that listens on this host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

// Ordinary names of other programs that are close to ours.
const UNRELATED = new Set(['APP_TOKEN', 'DASHBOARD_HOST', 'PRODUCER_HOST', 'WORKER_HOST']);

// A typo in a variable's name would silently give the default. Short names get less tolerance.
function refuseMisspelt(environment: Readonly<Record<string, string | undefined>>): void {
  const names = Object.keys(SETTINGS);
  for (const given of Object.keys(environment)) {
    if (names.includes(given) || UNRELATED.has(given)) continue;
    const meant = names.find(
      (name) =>
        given === `TALLY_${name}` ||
        isSwapped(given, name) ||
        distance(given, name) <= (name.length >= 12 ? 2 : 1),
    );
    if (meant !== undefined) {
      throw new UsageError(
        `${given} is not a setting of Tally; did you mean ${meant}? Rename or unset it`,
      );
    }
  }
}

function isSwapped(given: string, name: string): boolean {
  if (given.length !== name.length) return false;
  const at = name.split('').findIndex((letter, index) => letter !== given[index]);
  const swapped = `${name.slice(0, at)}${name.charAt(at + 1)}${name.charAt(at)}${name.slice(at + 2)}`;
  return given === swapped;
}
