import { request as httpRequest } from 'node:http';
import { pino } from 'pino';
import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apiIsOff, createRefreshApi } from '../../../producers/refresh-api.ts';
import { loadConfig } from '../../../shared/process/config.ts';
import type { Database } from '../../../shared/postgres/database.ts';
import { createApp, listen, type RunningServer } from '../../../shared/http/server.ts';

interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly items: readonly { readonly index: number; readonly problem: string }[];
  };
}

/** Remembers what would have been inserted: ids, vendors and source of each statement. */
class FakeDatabase implements Database {
  readonly recorded: (readonly unknown[])[] = [];
  failure: Error | undefined;

  async query<Row extends pg.QueryResultRow>(
    _sql: string,
    values: readonly unknown[] = [],
  ): Promise<Row[]> {
    if (this.failure) throw this.failure;
    this.recorded.push(values);
    return [];
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

const JSON_TYPE = { 'content-type': 'application/json' };
const GOOD = { executionId: 42, vendor: 'REPLICATION' };
const servers: RunningServer[] = [];
let database: FakeDatabase;
let logLines: string[];

beforeEach(() => {
  database = new FakeDatabase();
  logLines = [];
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(environment: Record<string, string> = {}): Promise<number> {
  const log = pino({ level: 'trace' }, { write: (line) => logLines.push(line) });
  const app = createApp().use('/v1', createRefreshApi(loadConfig([], environment), database, log));
  const server = await listen(app, '127.0.0.1', 0, 'PRODUCER_PORT');
  servers.push(server);
  return server.port;
}

async function post(
  body: string,
  headers: Record<string, string> = JSON_TYPE,
  environment: Record<string, string> = {},
): Promise<Response> {
  const port = await serve(environment);
  return fetch(`http://127.0.0.1:${port}/v1/refreshes`, { method: 'POST', headers, body });
}

/** fetch doesn't let us choose the host. */
async function statusFor(host: string, environment: Record<string, string>, token = '') {
  const port = await serve(environment);
  const headers = { ...JSON_TYPE, host, authorization: `Bearer ${token}` };
  const options = { host: '127.0.0.1', port, path: '/v1/refreshes', method: 'POST', headers };
  return new Promise<number | undefined>((resolve, reject) => {
    httpRequest(options, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    })
      .on('error', reject)
      .end(JSON.stringify(GOOD));
  });
}

async function expectRefusal(response: Response, status: number, code: string): Promise<ErrorBody> {
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const body: ErrorBody = JSON.parse(await response.text());
  expect(body.error.code).toBe(code);
  expect(body.error.message).not.toBe('');
  expect(database.recorded).toEqual([]);
  return body;
}

function list(length: number): { executionId: number; vendor: string }[] {
  return Array.from({ length }, (_, index) => ({ executionId: index + 1, vendor: 'GC' }));
}

describe('accepted', () => {
  it('a single refresh is recorded as asked by the API and answered with 202', async () => {
    const response = await post(JSON.stringify(GOOD));
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ accepted: 1 });
    expect(database.recorded).toEqual([[[42], ['REPLICATION'], 'api', 0]]);
  });

  it('a list is recorded in one statement, in its order', async () => {
    const refreshes = [GOOD, { executionId: 7, vendor: 'GC' }];
    const response = await post(JSON.stringify({ refreshes }));
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ accepted: 2 });
    expect(database.recorded).toEqual([[[42, 7], ['REPLICATION', 'GC'], 'api', 0]]);
  });

  it('1,000 refreshes are accepted at once', async () => {
    const response = await post(JSON.stringify({ refreshes: list(1_000) }));
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ accepted: 1_000 });
    expect(database.recorded).toHaveLength(1);
  });

  it('application/json with a charset is JSON, too', async () => {
    const headers = { 'content-type': 'application/json; charset=utf-8' };
    expect((await post(JSON.stringify(GOOD), headers)).status).toBe(202);
  });
});

describe('refused input', () => {
  it('of 1,000 items one bad is named by its index, and nothing is recorded', async () => {
    const refreshes: unknown[] = list(1_000);
    refreshes[637] = { executionId: 638, vendor: '' };
    const body = await expectRefusal(await post(JSON.stringify({ refreshes })), 400, 'BAD_REQUEST');
    expect(body.error.items).toEqual([{ index: 637, problem: expect.stringContaining('vendor') }]);
  });

  it('every bad item is named with its own problem', async () => {
    const refreshes = [null, GOOD, 'x', { executionId: 2 ** 53, vendor: 'GC' }, { executionId: 1 }];
    const body = await expectRefusal(await post(JSON.stringify({ refreshes })), 400, 'BAD_REQUEST');
    expect(body.error.items).toEqual([
      { index: 0, problem: expect.stringContaining('execution id') },
      { index: 2, problem: expect.stringContaining('execution id') },
      { index: 3, problem: expect.stringContaining('beyond 2^53 - 1') },
      { index: 4, problem: expect.stringContaining('vendor') },
    ]);
  });

  it('a bad single refresh is named as item 0', async () => {
    const response = await post('{"executionId":"42","vendor":"GC"}');
    const body = await expectRefusal(response, 400, 'BAD_REQUEST');
    expect(body.error.items).toEqual([{ index: 0, problem: expect.stringContaining('execution') }]);
  });

  it.each([
    ['a bare list', `[${JSON.stringify(GOOD)}]`, 'the body is a list; send {"refreshes": ['],
    ['null', 'null', 'the body is null; send'],
    ['a number', '42', 'the body is a number; send'],
    ['a text', '"42:REPLICATION"', 'the body is a string; send'],
  ])('%s is refused with what it is and what to send', async (_what, text, problem) => {
    const body = await expectRefusal(await post(text), 400, 'BAD_REQUEST');
    expect(body.error.message).toContain(problem);
    expect(body.error.items).toEqual([]);
  });

  it.each([
    ['1,001 items', JSON.stringify({ refreshes: list(1_001) })],
    ['an empty list', '{"refreshes":[]}'],
    ['a list that is none', '{"refreshes":{"0":1}}'],
    ['a list that is null', '{"refreshes":null}'],
    ['text that is not JSON', '{"executionId":42'],
    ['an empty body', ''],
  ])('%s is a bad request', async (_what, body) => {
    await expectRefusal(await post(body), 400, 'BAD_REQUEST');
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/json-seq'])(
    '%s, which a foreign page might send unasked, is refused whatever it holds',
    async (type) => {
      const response = await post(JSON.stringify(GOOD), { 'content-type': type });
      await expectRefusal(response, 415, 'NOT_JSON');
    },
  );

  it('a body over 1 MiB is too large', async () => {
    const body = JSON.stringify({ ...GOOD, more: 'x'.repeat(1024 * 1024) });
    await expectRefusal(await post(body), 413, 'TOO_LARGE');
  });

  it("a body of just 1 MiB isn't too large", async () => {
    const body = JSON.stringify(GOOD).padEnd(1024 * 1024, ' ');
    expect((await post(body)).status).toBe(202);
  });

  it('a body that claims falsely to be compressed is a bad request', async () => {
    const response = await post(JSON.stringify(GOOD), { ...JSON_TYPE, 'content-encoding': 'gzip' });
    await expectRefusal(response, 400, 'BAD_REQUEST');
  });
});

describe('with API_TOKEN', () => {
  const environment = { API_TOKEN: 'a-long-random-word' };

  it('the right token is let in', async () => {
    const headers = { ...JSON_TYPE, authorization: 'Bearer a-long-random-word' };
    expect((await post(JSON.stringify(GOOD), headers, environment)).status).toBe(202);
    expect(database.recorded).toHaveLength(1);
  });

  it.each([
    ['no token', {}],
    ['a wrong token', { authorization: 'Bearer another-random-word' }],
    ['the beginning of the token', { authorization: 'Bearer a-long' }],
    ['the token without Bearer', { authorization: 'a-long-random-word' }],
    ['an empty token', { authorization: 'Bearer ' }],
    ['the token as a password', { authorization: `Basic ${btoa('x:a-long-random-word')}` }],
  ])('%s is refused with 401 and how to do it', async (_what, headers: Record<string, string>) => {
    const response = await post(JSON.stringify(GOOD), { ...JSON_TYPE, ...headers }, environment);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    const body = await expectRefusal(response, 401, 'UNAUTHORIZED');
    expect(JSON.stringify(body)).not.toContain('a-long-random-word');
  });
});

describe('wrong tokens', () => {
  it('get 429 after ten within a minute, and the right one still gets in', async () => {
    const port = await serve({ API_TOKEN: 'a-long-random-word' });
    const ask = (token?: string): Promise<Response> =>
      fetch(`http://127.0.0.1:${port}/v1/refreshes`, {
        method: 'POST',
        headers: { ...JSON_TYPE, ...(token === undefined ? {} : { authorization: token }) },
        body: JSON.stringify(GOOD),
      });
    for (let n = 0; n < 10; n++) expect((await ask('Bearer guess')).status).toBe(401);
    await expectRefusal(await ask('Bearer guess'), 429, 'TOO_MANY_ATTEMPTS');
    expect((await ask()).status).toBe(401);
    expect((await ask('Bearer a-long-random-word')).status).toBe(202);
    expect(logLines.filter((line) => line.includes('wrong tokens'))).toHaveLength(1);
    expect(logLines.join('')).not.toContain('guess');
  });

  it.each(['bearer', 'BEARER', 'Bearer '])('the scheme may be written %s', async (scheme) => {
    const headers = { ...JSON_TYPE, authorization: `${scheme} a-long-random-word` };
    const environment = { API_TOKEN: 'a-long-random-word' };
    expect((await post(JSON.stringify(GOOD), headers, environment)).status).toBe(202);
  });
});

describe('by host', () => {
  it('a foreign host is refused when there is no token', async () => {
    expect(await statusFor('evil.example', {})).toBe(403);
    expect(database.recorded).toEqual([]);
  });

  it('this machine is answered when there is no token', async () => {
    expect(await statusFor('localhost:3001', {})).toBe(202);
  });

  it('any host is answered to whoever has the token', async () => {
    const environment = { API_TOKEN: 'a-long-random-word' };
    expect(await statusFor('tally.example', environment, 'a-long-random-word')).toBe(202);
  });
});

it('an unavailable Postgres is a 503 that promises nothing, and one warning in the log', async () => {
  database.failure = new Error('timeout expired');
  const response = await post(JSON.stringify({ refreshes: list(3) }));
  const body = await expectRefusal(response, 503, 'DATABASE_AWAY');
  expect(JSON.stringify(body)).not.toContain('timeout expired');
  const lines: unknown[] = logLines.map((line) => JSON.parse(line));
  const msg = '3 refreshes were not accepted: timeout expired';
  expect(lines).toEqual([expect.objectContaining({ level: pino.levels.values['warn'], msg })]);
});

it('the API that is off answers 403 and says what would turn it on', async () => {
  const app = createApp().use('/v1', apiIsOff);
  const server = await listen(app, '127.0.0.1', 0, 'PRODUCER_PORT');
  servers.push(server);
  const url = `http://127.0.0.1:${server.port}/v1/refreshes`;
  const response = await fetch(url, {
    method: 'POST',
    headers: JSON_TYPE,
    body: JSON.stringify(GOOD),
  });
  const body = await expectRefusal(response, 403, 'API_TOKEN_MISSING');
  expect(body.error.message).toContain('set API_TOKEN');
});
