import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../../shared/process/config.ts';
import { scrubSecrets, secretsOf } from '../../../../shared/process/logger.ts';

type Environment = Readonly<Record<string, string>>;

function scrub(text: string, environment: Environment = {}): string {
  return scrubSecrets(text, secretsOf(loadConfig([], environment)));
}

function isAccepted(environment: Environment): boolean {
  try {
    loadConfig([], environment);
    return true;
  } catch {
    return false;
  }
}

/** What a process with this environment writes for this error, as `createLogger` joins the two. */
function logLine(error: Error, environment: Environment): string {
  let line = '';
  pino({}, { write: (text) => (line += scrub(text, environment)) }).error({ err: error }, 'failed');
  return line;
}

describe('URLs in a text', () => {
  it.each([
    ['postgres://tally:hunter2x@db:5432/tally', 'postgres://tally:***@db:5432/tally'],
    ['redis://:hunter2x@cache', 'redis://:***@cache'],
    ['rediss://user:p%40ss%2Fhunter2x@cache/0', 'rediss://user:***@cache/0'],
    ['HTTPS://me:hunter2x@host/path', 'HTTPS://me:***@host/path'],
    ['amqp+ssl://me:hunter2x@host', 'amqp+ssl://me:***@host'],
    ['from redis://:hunter2x@a to redis://:hunter2x@b', 'from redis://:***@a to redis://:***@b'],
    ['{"url":"redis://:hunter2x@a"}', '{"url":"redis://:***@a"}'],
  ])('%s loses its password, also when it is of no setting of ours', (text, clean) => {
    expect(scrub(text)).toBe(clean);
  });

  it.each([
    'postgres://tally@db:5432/tally',
    'http://127.0.0.1:3001/v1/refreshes',
    'see http://a:80/x and write to me@example.com',
    'connect ECONNREFUSED ::1:5432',
    'refreshed 42: 40 changed, 2 unchanged, 0 failed, 12 ms',
  ])('%s has no password and stays as it is', (text) => {
    expect(scrub(text)).toBe(text);
  });

  it('a password with an unencoded @ is taken out whole', () => {
    const url = 'postgres://tally:hunter2@tail-of-it@db/tally';
    expect(scrub(`bad: ${url}`, { DATABASE_URL: url })).not.toContain('tail-of-it');
  });
});

describe('secrets of the config', () => {
  it.each([
    ['the password of DATABASE_URL', { DATABASE_URL: 'postgres://tally:hunter2x@db/tally' }],
    ['the password of REDIS_URL', { REDIS_URL: 'redis://:hunter2x@cache' }],
    ['the password of HARBOR_REDIS_URL', { HARBOR_REDIS_URL: 'redis://:hunter2x@cache/0' }],
    [
      'the password of sentinels in HARBOR_REDIS_URL',
      { HARBOR_REDIS_URL: 'redis+sentinel://harbor:hunter2x@a:1,b:2/mymaster/0' },
    ],
    ['API_TOKEN', { API_TOKEN: 'hunter2x' }],
    ['DASHBOARD_PASSWORD', { DASHBOARD_PASSWORD: 'hunter2x' }],
    [
      'DASHBOARD_VIEWER_PASSWORD',
      { DASHBOARD_PASSWORD: 'another-one', DASHBOARD_VIEWER_PASSWORD: 'hunter2x' },
    ],
  ])('%s is taken out wherever it stands', (_what, environment) => {
    expect(scrub('Bearer hunter2x, "hunter2x" and AUTH hunter2x', environment)).toBe(
      'Bearer ***, "***" and AUTH ***',
    );
  });

  it('a percent-encoded password is taken out as it is written and as it is sent', () => {
    const environment = { DATABASE_URL: 'postgres://tally:p%40ss%2Fhunter2@db/tally' };
    expect(scrub('p%40ss%2Fhunter2 | p@ss/hunter2', environment)).toBe('*** | ***');
  });

  it('a password with characters that URLs encode by themselves is taken out as it was given', () => {
    const environment = { REDIS_URL: 'redis://:hunter^2x@cache' };
    expect(scrub('AUTH hunter^2x', environment)).toBe('AUTH ***');
  });

  it("a password with a lone percent sign is refused by the config, which doesn't repeat it", () => {
    expect(isAccepted({ REDIS_URL: 'redis://:100%hunter2@cache' })).toBe(false);
  });

  it('a password encoded in another charset is refused by the config or taken out', () => {
    let text = 'refused by the config';
    if (isAccepted({ REDIS_URL: 'redis://:%E4%F6%FChunter2@cache' })) {
      text = scrub('AUTH %E4%F6%FChunter2', { REDIS_URL: 'redis://:%E4%F6%FChunter2@cache' });
    }
    expect(text).not.toContain('hunter2');
  });

  it('a percent-encoded password of HARBOR_REDIS_URL is taken out in both forms', () => {
    const environment = { HARBOR_REDIS_URL: 'redis+sentinel://:p%40ss%2Fhunter2@a:1,b:2/m/0' };
    expect(scrub('p%40ss%2Fhunter2 | p@ss/hunter2', environment)).toBe('*** | ***');
  });

  it('a password given in the query of a URL is taken out', () => {
    const url = 'postgres://db/tally?user=tally&password=hunter2x';
    expect(scrub(`bad: ${url}`, { DATABASE_URL: url })).not.toContain('hunter2x');
  });

  it('a secret that begins like another one is taken out whole', () => {
    const environment = { API_TOKEN: 'hunter2x', DASHBOARD_PASSWORD: 'hunter2x-and-more' };
    expect(scrub('given hunter2x-and-more', environment)).toBe('given ***');
    expect(scrub('given hunter2x', environment)).toBe('given ***');
  });

  it('a config without secrets changes nothing', () => {
    expect(secretsOf(loadConfig([], {}))).toEqual([]);
    expect(scrub('a text')).toBe('a text');
  });

  it("a password of three characters doesn't blank out half of the log", () => {
    expect(scrub('info: abc', { REDIS_URL: 'redis://:abc@cache' })).toBe('info: abc');
  });
});

describe('a log line', () => {
  const environment = { DATABASE_URL: 'postgres://tally:hunter2x@db/tally' };

  it.each([
    ['an error', new Error('AUTH hunter2x failed')],
    ['the cause of an error', new Error('failed', { cause: new Error('AUTH hunter2x failed') })],
    ['an aggregate', new AggregateError([new Error('AUTH hunter2x failed')], 'all failed')],
    ['a field of an error', Object.assign(new Error('failed'), { url: environment.DATABASE_URL })],
    ['a field in a field', Object.assign(new Error('failed'), { options: { pass: 'hunter2x' } })],
  ])('has no password when it stands in %s', (_what, error) => {
    const line = logLine(error, environment);
    expect(line).toContain('***');
    expect(line).not.toContain('hunter2x');
  });

  it('is still JSON when a password was taken out', () => {
    const line = logLine(new Error(`"${environment.DATABASE_URL}"`), environment);
    expect(JSON.parse(line)).toMatchObject({ err: { message: '"postgres://tally:***@db/tally"' } });
  });

  it.each(['hunter"2x-token', 'hunter\\2x-token'])(
    'has no token that JSON writes differently: %s',
    (token) => {
      const line = logLine(new Error(`the token ${token} is wrong`), { API_TOKEN: token });
      expect(line).not.toContain('2x-token');
    },
  );
});
