import { expect, test } from 'vitest';
import { loadConfig, SETTING_DEFAULTS } from '../../../../shared/process/config.ts';
import { UsageError } from '../../../../shared/errors.ts';

function load(name: string, value = 'x'): () => unknown {
  return () => loadConfig([], { [name]: value });
}

test.each([
  ['DATABASE_URI', 'DATABASE_URL'],
  ['DATABSE_URL', 'DATABASE_URL'],
  ['REDIS_URLS', 'REDIS_URL'],
  ['TALLY_REDIS_URL', 'REDIS_URL'],
  ['TALLY_WORKER_CONCURRENCY', 'WORKER_CONCURRENCY'],
  ['WORKER_CONCURENCY', 'WORKER_CONCURRENCY'],
  ['JOB_ATTEMPT', 'JOB_ATTEMPTS'],
  ['LOGLEVEL', 'LOG_LEVEL'],
  ['API_TOKN', 'API_TOKEN'],
])('the misspelt %s is refused and %s is named', (given, meant) => {
  expect(load(given)).toThrow(UsageError);
  expect(load(given)).toThrow(`${given} is not a setting of Tally; did you mean ${meant}?`);
});

test.each([
  ['REDIS_ULR', 'REDIS_URL'],
  ['DATABASE_ULR', 'DATABASE_URL'],
  ['API_TOEKN', 'API_TOKEN'],
])('the swapped letters of %s are noticed and %s is named', (given, meant) => {
  expect(load(given)).toThrow(`did you mean ${meant}?`);
});

test.each([
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
])('%s, which belongs to another program, is not taken for a misspelt setting', (name) => {
  expect(load(name)).not.toThrow();
});

test('the refusal of a misspelt name does not repeat its value', () => {
  expect(load('TALLY_API_TOKEN', 'hunter2hunter')).toThrow(/^TALLY_API_TOKEN is not a setting/);
  expect(load('TALLY_API_TOKEN', 'hunter2hunter')).not.toThrow(/hunter2/);
});

test('no setting is taken for a misspelt other one', () => {
  const defaults = Object.fromEntries(SETTING_DEFAULTS);
  expect(() => loadConfig([], defaults)).not.toThrow();
});
