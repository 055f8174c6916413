import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isLoopback, loadConfig, withSettings } from '../../../../shared/process/config.ts';
import { UsageError } from '../../../../shared/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

function refusal(environment: Environment, required: Parameters<typeof loadConfig>[0] = []) {
  try {
    loadConfig(required, environment);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error(`${JSON.stringify(environment)} was accepted`);
}

describe('defaults', () => {
  it('an empty environment gives the documented defaults', () => {
    expect(loadConfig([], {})).toMatchObject({
      QUEUE_PREFIX: 'tally',
      WORKER_CONCURRENCY: 200,
      REFRESH_INTERVAL_MS: 250,
      QUEUE_HIGH_WATER: 50_000,
      RESEND_AFTER_MS: 60_000,
      JOB_ATTEMPTS: 5,
      LOCK_DURATION_MS: 30_000,
      STALLED_INTERVAL_MS: 30_000,
      OUTBOX_POLL_MS: 25,
      HARBOR_MARKER_DELAY_MS: 35_000,
      HTTP_HOST: '127.0.0.1',
      PRODUCER_PORT: 3001,
      DASHBOARD_PORT: 3000,
      WORKER_PORT: 0,
      DASHBOARD_USER: 'admin',
      FAILED_KEEP_COUNT: 50_000,
      FAILED_KEEP_HOURS: 168,
      SHUTDOWN_GRACE_MS: 8_000,
      LOG_LEVEL: 'info',
    });
  });

  it.each([
    'DATABASE_URL',
    'REDIS_URL',
    'HARBOR_REDIS_URL',
    'REFRESH_BATCH_SIZE',
    'API_TOKEN',
    'DASHBOARD_PASSWORD',
    'DASHBOARD_VIEWER_PASSWORD',
    'OTEL_EXPORTER_OTLP_ENDPOINT',
  ])('%s has no default', (name) => {
    expect(loadConfig([], {})).toHaveProperty(name, undefined);
  });

  it('an empty variable counts as unset', () => {
    const config = loadConfig([], { WORKER_CONCURRENCY: '', API_TOKEN: '', REDIS_URL: '' });
    expect(config.WORKER_CONCURRENCY).toBe(200);
    expect(config.API_TOKEN).toBeUndefined();
    expect(config.REDIS_URL).toBeUndefined();
  });
});

it('given values are read with their types', () => {
  const config = loadConfig([], {
    DATABASE_URL: 'postgresql://db/tally',
    REDIS_URL: 'rediss://:secret@cache:6380/2',
    REFRESH_BATCH_SIZE: '500',
    WORKER_PORT: '65535',
    QUEUE_PREFIX: '{tally}-2',
    LOG_LEVEL: 'debug',
  });
  expect(config.DATABASE_URL).toBe('postgresql://db/tally');
  expect(config.REDIS_URL).toBe('rediss://:secret@cache:6380/2');
  expect(config.REFRESH_BATCH_SIZE).toBe(500);
  expect(config.WORKER_PORT).toBe(65_535);
  expect(config.QUEUE_PREFIX).toBe('{tally}-2');
  expect(config.LOG_LEVEL).toBe('debug');
});

describe('bad values', () => {
  it.each([
    ['DATABASE_URL', 'mysql://db/tally', 'must be a URL that starts with postgres://'],
    ['DATABASE_URL', 'db:5432', 'must be a URL that starts with postgres://'],
    ['DATABASE_URL', 'postgres:///tally', 'must be a URL that starts with postgres://'],
    [
      'REDIS_URL',
      'http://cache',
      'must be a URL that starts with redis://, rediss://, redis+sentinel://',
    ],
    ['REDIS_URL', 'cache', 'must be a URL that starts with redis://, rediss://, redis+sentinel://'],
    ['QUEUE_PREFIX', 'a:b', 'must be 1 to 64 letters'],
    ['QUEUE_PREFIX', 'x'.repeat(65), 'must be 1 to 64 letters'],
    ['WORKER_CONCURRENCY', '0', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', '5001', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', 'many', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', '1.5', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', '1e3', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', '-1', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', '0x10', 'must be a whole number from 1 to 5000'],
    ['WORKER_CONCURRENCY', ' 5', 'must be a whole number from 1 to 5000'],
    ['QUEUE_HIGH_WATER', '9'.repeat(400), 'must be a whole number from 1 to 100000000'],
    ['PRODUCER_PORT', '65536', 'must be a whole number from 0 to 65535'],
    ['LOCK_DURATION_MS', '499', 'must be a whole number from 500'],
    ['API_TOKEN', 'hunt2r', 'must have at least 8 characters'],
    ['DASHBOARD_PASSWORD', 'hunt2r', 'must have at least 8 characters'],
    ['DASHBOARD_USER', 'ad:min', 'must be 1 to 64 characters without a colon'],
    ['BASE_PATH', 'tally', 'must be a path such as /tally'],
    ['BASE_PATH', '//x', 'must be a path such as /tally'],
    ['BASE_PATH', '/a//b', 'must be a path such as /tally'],
    ['BASE_PATH', '/..', 'must be a path such as /tally'],
    ['BASE_PATH', '/a?b', 'must be a path such as /tally'],
    ['BASE_PATH', '/board', 'must be a path such as /tally'],
    ['BASE_PATH', '/Board/x', 'must be a path such as /tally'],
    ['BASE_PATH', '/metrics/', 'must be a path such as /tally'],
    ['BASE_PATH', 'http://x', 'must be a path such as /tally'],
    ['BASE_PATH', `/${'a'.repeat(200)}`, 'must be at most 200 characters'],
    ['DASHBOARD_ENVIRONMENT', 'a\u202eb', 'must be 1 to 32 printable characters'],
    ['DASHBOARD_ENVIRONMENT', 'x'.repeat(33), 'must be 1 to 32 printable characters'],
    ['TRUST_PROXY', 'true', 'must be off, a number of proxies from 1 to 32'],
    ['TRUST_PROXY', '0', 'must be off, a number of proxies from 1 to 32'],
    ['TRUST_PROXY', '10.0.0.0/33', 'must be off, a number of proxies from 1 to 32'],
    ['TRUST_PROXY', '0.0.0.0/0', 'must be off, a number of proxies from 1 to 32'],
    ['TRUST_PROXY', '10.0.0.1,', 'must be off, a number of proxies from 1 to 32'],
    ['TRUST_PROXY', 'proxy.example', 'must be off, a number of proxies from 1 to 32'],
    ['LOG_LEVEL', 'loud', 'must be one of trace, debug, info, warn, error, fatal, silent'],
  ])('%s=%j is refused with name, problem and an example that works', (name, value, problem) => {
    const message = refusal({ [name]: value });
    expect(message.startsWith(`${name} ${problem}`), message).toBe(true);
    const example = new RegExp(`; for example ${name}=(\\S+)$`).exec(message)?.[1];
    expect(example, message).toBeDefined();
    expect(() => loadConfig([], { [name]: example })).not.toThrow();
  });

  it.each([
    'mysql://tally:hunter2hunter@db/tally',
    'postgres://tally:hunter2hunter@:5432x/tally',
    'postgres://tally:hunter2hunter@/tally',
    'postgres:hunter2hunter',
    'hunter2hunter',
  ])('the refusal of a bad URL never repeats its password (%s)', (url) => {
    expect(refusal({ DATABASE_URL: url })).not.toContain('hunter2');
    expect(refusal({ REDIS_URL: url })).not.toContain('hunter2');
  });

  it("the refusal of a short token or password doesn't repeat it", () => {
    expect(refusal({ API_TOKEN: 'hunt2r' })).not.toContain('hunt2r');
    expect(refusal({ DASHBOARD_PASSWORD: 'hunt2r' })).not.toContain('hunt2r');
  });

  it('a password that no program could decode is refused by the name of its variable', () => {
    expect(refusal({ DATABASE_URL: 'postgres://tally:%E4%F6%FC@db/tally' })).toMatch(
      /^DATABASE_URL /,
    );
  });
});

it.each([
  ['off', false],
  ['2', 2],
  ['loopback, 10.0.0.0/8,2001:db8::/32', ['loopback', '10.0.0.0/8', '2001:db8::/32']],
])('TRUST_PROXY=%s is read as Express takes it', (text, value) => {
  expect(loadConfig([], { TRUST_PROXY: text }).TRUST_PROXY).toEqual(value);
});

describe('a viewer of the dashboard', () => {
  const passwords = { DASHBOARD_PASSWORD: 'hunter2x', DASHBOARD_VIEWER_PASSWORD: 'hunter3y' };

  it('is fine beside an operator', () => {
    expect(loadConfig([], passwords).DASHBOARD_VIEWER_USER).toBe('viewer');
  });

  it.each([
    ['alone', { DASHBOARD_PASSWORD: '' }, 'DASHBOARD_PASSWORD is not'],
    ['with the same password', { DASHBOARD_VIEWER_PASSWORD: 'hunter2x' }, 'choose another one'],
    ['of the same name', { DASHBOARD_USER: 'viewer' }, 'DASHBOARD_VIEWER_USER is the same'],
  ])('%s is refused, without a password in the message', (_how, changes, problem) => {
    const message = refusal({ ...passwords, ...changes });
    expect(message).toContain(problem);
    expect(message).not.toContain('hunter');
  });
});

describe('the example secrets of the documents', () => {
  const NAMES = ['API_TOKEN', 'DASHBOARD_PASSWORD', 'DASHBOARD_VIEWER_PASSWORD'];
  const environment = (name: string, value: string): Environment => ({
    ...(name === 'DASHBOARD_VIEWER_PASSWORD' && { DASHBOARD_PASSWORD: 'hunter2x' }),
    [name]: value,
  });
  const text = readFileSync(new URL('../../../../.env.example', import.meta.url), 'utf8');
  const exampleOf = (name: string): string =>
    new RegExp(`^# ${name}=(.*)$`, 'm').exec(text)?.[1] ?? '';

  it.each(NAMES)('protect %s on this machine and nowhere else', (name) => {
    const value = exampleOf(name);
    expect(value).not.toBe('');
    expect(() => loadConfig([], environment(name, value))).not.toThrow();
    for (const exposed of [{ HTTP_HOST: '0.0.0.0' }, { TRUST_PROXY: 'loopback' }]) {
      expect(refusal({ ...environment(name, value), ...exposed })).toContain(
        `${name} is the example from the documentation`,
      );
      const own = environment(name, 'hunter2hunter');
      expect(() => loadConfig([], { ...own, ...exposed })).not.toThrow();
    }
  });
});

describe('required variables', () => {
  it.each([{}, { DATABASE_URL: '' }])("one that isn't set is named, with an example", (env) => {
    const message = refusal(env, ['DATABASE_URL']);
    expect(message).toMatch(/^DATABASE_URL is not set; for example DATABASE_URL=postgres:\/\//);
    expect(message).toContain('npm start');
  });

  it('the second one is noticed too, when the first is set', () => {
    const env = { DATABASE_URL: 'postgres://db/tally' };
    expect(refusal(env, ['DATABASE_URL', 'REDIS_URL'])).toMatch(/^REDIS_URL is not set/);
  });

  it('all that are set are enough', () => {
    const env = { DATABASE_URL: 'postgres://db/tally', REDIS_URL: 'redis://cache' };
    expect(loadConfig(['DATABASE_URL', 'REDIS_URL'], env)).toMatchObject(env);
  });
});

describe('a config', () => {
  it('is frozen, as read and as changed', () => {
    const config = loadConfig([], {});
    const changed = withSettings(config, { WORKER_CONCURRENCY: 7 });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(changed)).toBe(true);
    expect(changed.WORKER_CONCURRENCY).toBe(7);
    expect(changed.HTTP_HOST).toBe(config.HTTP_HOST);
    expect(config.WORKER_CONCURRENCY).toBe(200);
  });

  it("has nothing of the environment that isn't a setting", () => {
    expect(loadConfig([], { HOME: '/root', PATH: '/bin' })).not.toHaveProperty('HOME');
  });
});

it.each(['::1', '[::1]'])('HTTP_HOST=%s is the address as servers take it', (host) => {
  expect(loadConfig([], { HTTP_HOST: host }).HTTP_HOST).toBe('::1');
});

it.each(['localhost', '127.0.0.1', '127.1.2.3', '::1'])('%s is this machine', (host) => {
  expect(isLoopback(host)).toBe(true);
});

it.each(['0.0.0.0', '::', '10.0.0.1', '192.168.127.0', '127.0.0.1.evil.example', 'localhost.x'])(
  "%s isn't this machine",
  (host) => {
    expect(isLoopback(host)).toBe(false);
  },
);

it.each([
  ['', ''],
  ['/', ''],
  ['/tally', '/tally'],
  ['/tally/', '/tally'],
  ['/ops/Tally_2.0~x', '/ops/Tally_2.0~x'],
  ['/boards', '/boards'],
])('BASE_PATH=%s puts "%s" before every link', (text, path) => {
  expect(loadConfig([], { BASE_PATH: text }).BASE_PATH).toBe(path);
});
