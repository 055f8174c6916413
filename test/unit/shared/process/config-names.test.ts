import { describe, expect, it } from 'vitest';
import {
  ignoredSettings,
  loadConfig,
  SETTING_DEFAULTS,
} from '../../../../shared/process/config.ts';
import { UsageError } from '../../../../shared/errors.ts';

function load(name: string, value = 'x'): () => unknown {
  return () => loadConfig([], { [name]: value });
}

it.each([
  ['DATABASE_URI', 'DATABASE_URL'],
  ['DATABSE_URL', 'DATABASE_URL'],
  ['REDIS_URLS', 'REDIS_URL'],
  ['TALLY_REDIS_URL', 'REDIS_URL'],
  ['TALLY_WORKER_CONCURRENCY', 'WORKER_CONCURRENCY'],
  ['WORKER_CONCURENCY', 'WORKER_CONCURRENCY'],
  ['JOB_ATTEMPT', 'JOB_ATTEMPTS'],
  ['LOGLEVEL', 'LOG_LEVEL'],
  ['API_TOKN', 'API_TOKEN'],
  ['DATABASE_URI_FILE', 'DATABASE_URL_FILE'],
  ['TALLY_API_TOKEN_FILE', 'API_TOKEN_FILE'],
])('the misspelt %s is refused and %s is named', (given, meant) => {
  expect(load(given)).toThrow(UsageError);
  expect(load(given)).toThrow(`${given} is not a setting of Tally; did you mean ${meant}?`);
});

it.each([
  ['REDIS_ULR', 'REDIS_URL'],
  ['DATABASE_ULR', 'DATABASE_URL'],
  ['API_TOEKN', 'API_TOKEN'],
])('the swapped letters of %s are noticed and %s is named', (given, meant) => {
  expect(load(given)).toThrow(`did you mean ${meant}?`);
});

it.each([
  'APP_TOKEN',
  'NPM_TOKEN',
  'GITHUB_TOKEN',
  'PATH',
  'HOME',
  'HOST',
  'PORT',
  'NODE_ENV',
  'LOG_FORMAT',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'HTTP_PORT',
  'NO_PROXY',
  'PGHOST',
  'PGPASSWORD',
  'DATABASE_HOST',
  'DATABASE_USER',
  'DATABASE_PASSWORD',
  'REDIS_HOST',
  'REDIS_PORT',
  'REDIS_TLS_URL',
  'WORKER_COUNT',
  'WORKER_HOST',
  'DASHBOARD_HOST',
  'PRODUCER_HOST',
  'QUEUE_NAME',
  'WEB_CONCURRENCY',
])("%s, which belongs to another program, isn't taken for a misspelt setting", (name) => {
  expect(load(name)).not.toThrow();
});

it("the refusal of a misspelt name doesn't repeat its value", () => {
  expect(load('TALLY_API_TOKEN', 'hunter2hunter')).toThrow(/^TALLY_API_TOKEN is not a setting/);
  expect(load('TALLY_API_TOKEN', 'hunter2hunter')).not.toThrow(/hunter2/);
});

it('no setting is taken for a misspelt other one', () => {
  const defaults = Object.fromEntries(SETTING_DEFAULTS);
  expect(() => loadConfig([], defaults)).not.toThrow();
});

/** The variables that Kubernetes and Docker make of a service with one port. */
function variablesOf(service: string, protocol = 'tcp', host = '10.0.0.1'): Record<string, string> {
  const name = service.toUpperCase().replaceAll('-', '_');
  const port = `${name}_PORT_3001_${protocol.toUpperCase()}`;
  const address = `${protocol}://${host}:3001`;
  return {
    [`${name}_SERVICE_HOST`]: host,
    [`${name}_SERVICE_PORT`]: '3001',
    [`${name}_SERVICE_PORT_HTTP`]: '3001',
    [`${name}_PORT`]: address,
    [port]: address,
    [`${port}_PROTO`]: protocol,
    [`${port}_PORT`]: '3001',
    [`${port}_ADDR`]: host,
  };
}

const SERVICES =
  'producer producers worker workers dashboard redis postgres database http api tally tally-producer tally-worker tally-dashboard tally-redis'.split(
    ' ',
  );

describe('the variables that a platform makes up of a service', () => {
  it.each(SERVICES)('called %s stop no process and change no setting', (service) => {
    for (const [protocol, host] of [
      ['tcp', '10.0.0.1'],
      ['tcp', '[fd00::1]'],
      ['udp', '10.0.0.1'],
    ] as const) {
      const made = variablesOf(service, protocol, host);
      expect(loadConfig([], made)).toEqual(loadConfig([], {}));
    }
  });

  it('are named where they look like a setting', () => {
    const made = { ...variablesOf('producer'), ...variablesOf('tally-worker'), HOME: '/root' };
    expect(ignoredSettings(made)).toEqual(['PRODUCER_PORT']);
    expect(ignoredSettings({ PRODUCER_PORT: '3001' })).toEqual([]);
  });

  it("don't excuse what a person wrote wrong", () => {
    expect(load('TALLY_PRODUCER_PORT', '3001')).toThrow('did you mean PRODUCER_PORT?');
    expect(load('PRODUCER_PORT', 'http://10.0.0.1:3001')).toThrow('PRODUCER_PORT must be');
    expect(load('REDIS_URL', 'tcp://10.0.0.1:6379')).toThrow('REDIS_URL must be');
  });
});
