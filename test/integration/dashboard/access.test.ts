import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../../shared/queue/refresh-queue.ts';
import {
  boardRoutes,
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createStores } from '../../support/stores.ts';
import { injectFault } from '../../support/fault.ts';

const stores = await createStores();
const { queue, redis, config } = stores;
const { url } = await serveDashboard(stores, WITH_PASSWORDS);

const CHANGES = boardRoutes().filter(({ method }) => method !== 'get');
const OWN_CHANGES = [
  '/executions/1/refresh',
  '/executions/refresh',
  '/failures/retry',
  '/failures/0123456789abcdef/retry',
  '/stuck/refresh',
];
const OWN_PAGES = [
  '/executions?state=failed',
  '/executions/refresh?id=1',
  '/failures',
  '/failures/0123456789abcdef',
  '/stuck',
];

// Each kind of job once: waiting, failed and delayed.
await enqueueRefreshes(queue, [{ executionId: 1, vendor: 'SCAN' }]);
const [waiting] = await queue.getWaiting();
const jobId = waiting?.id ?? '';

function pathOf(route: string, job = jobId): string {
  return `/board${route}`
    .replace(':queueName', 'refresh')
    .replace(':jobId', encodeURIComponent(job))
    .replace(':queueStatus', 'failed')
    .replace(':schedulerId', 'any');
}

/** Asks with these headers alone; Node's fetch has a Sec-Fetch-Mode of its own. */
async function statusOf(
  address: string,
  headers: Record<string, string>,
): Promise<number | undefined> {
  const [response] = (await once(get(address, { headers }), 'response')) as [IncomingMessage];
  return response.resume().statusCode;
}

/** All of the queue's keys with what is in them. */
async function contents(): Promise<Record<string, unknown>> {
  const keys = (await redis.keys(`${config.QUEUE_PREFIX}:*`)).toSorted();
  const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, at) => [key, dumps[at]?.toString('hex')]));
}

describe('without the password', () => {
  const own = ['/', '/executions', '/executions/1', '/tally.css', '/scripts/uplot.js', '/metrics'];
  const board = ['/board', '/board/static/favicon.ico', '/board/queue/refresh', '/no/page'];
  const former = ['/overview', '/static/favicon.ico', '/queue/refresh', '/api/queues'];

  const routes = boardRoutes().map(({ route }) => pathOf(route));
  it.each([...own, ...OWN_PAGES, ...board, ...former, ...routes])(
    'GET %s answers 401',
    async (path) => {
      expect((await fetch(`${url}${path}`)).status).toBe(401);
    },
  );

  it.each(CHANGES)('$method $route answers 401', async ({ method, route }) => {
    const before = await contents();
    const response = await fetch(`${url}${pathOf(route)}`, { method: method.toUpperCase() });
    expect(response.status).toBe(401);
    expect(await contents()).toEqual(before);
  });

  it.each(OWN_CHANGES)('POST %s answers 401', async (path) => {
    expect((await fetch(`${url}${path}`, { method: 'POST' })).status).toBe(401);
  });

  it.each(['/healthz', '/readyz'])('%s is open and shows nothing but the state', async (path) => {
    const response = await fetch(`${url}${path}`);
    expect(response.status).toBe(200);
    expect(Object.keys((await response.json()) as object)).toEqual(['status']);
  });
});

describe('the viewer', () => {
  it('sees the jobs', async () => {
    const response = await fetch(`${url}/board/api/queues?activeQueue=refresh&status=waiting`, {
      headers: login(VIEWER),
    });
    expect(await response.text()).toContain('1:SCAN');
  });

  it('sees a board without buttons', async () => {
    const readOnly = async (who: typeof VIEWER): Promise<unknown> => {
      const response = await fetch(`${url}/board/api/queues`, { headers: login(who) });
      return ((await response.json()) as { queues: { readOnlyMode: boolean }[] }).queues[0]
        ?.readOnlyMode;
    };
    expect(await readOnly(VIEWER)).toBe(true);
    expect(await readOnly(OPERATOR)).toBe(false);
  });

  it.each(CHANGES)('may not $method $route', async ({ method, route }) => {
    const before = await contents();
    const response = await fetch(`${url}${pathOf(route)}`, {
      method: method.toUpperCase(),
      headers: { ...login(VIEWER), 'content-type': 'application/json' },
      body: JSON.stringify({ data: { executionId: 2, vendor: 'SCAN' }, jobData: {}, force: true }),
    });
    expect(response.status).toBe(403);
    expect(await contents()).toEqual(before);
  });

  it.each(OWN_CHANGES)('may not POST %s', async (path) => {
    const headers = { ...login(VIEWER), 'content-type': 'application/json' };
    const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: '{"id":[1]}' });
    expect(response.status).toBe(403);
  });

  it.each(['POST', 'PUT', 'PATCH', 'DELETE'])('may not %s anything at all', async (method) => {
    const response = await fetch(`${url}/nothing/here`, { method, headers: login(VIEWER) });
    expect(response.status).toBe(403);
  });
});

describe('a page of another site', () => {
  const add = '/board/api/queues/refresh/add';
  const data = JSON.stringify({ name: 'x', data: { executionId: 3, vendor: 'SCAN' }, options: {} });

  it.each([
    [
      'a form',
      { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://evil.example' },
    ],
    ['text/plain', { 'content-type': 'text/plain', origin: 'https://evil.example' }],
    ['text/plain and no word of its origin', { 'content-type': 'text/plain' }],
    ['JSON', { 'content-type': 'application/json', origin: 'https://evil.example' }],
  ])("can't add a job with the password in the browser and %s", async (_what, headers) => {
    injectFault(29, 'POSTs by a page of another site');
    const before = await contents();
    const response = await fetch(`${url}${add}`, {
      method: 'POST',
      headers: { ...login(OPERATOR), ...headers },
      body: data,
    });
    expect(response.status).toBe(403);
    expect(await contents()).toEqual(before);
  });
});

describe.each(OWN_CHANGES)('POST %s', (path) => {
  it.each([
    ['from another site', { 'sec-fetch-site': 'cross-site' }],
    ['from another origin', { origin: 'https://evil.example' }],
    ['as a form that names no origin', { 'content-type': 'application/x-www-form-urlencoded' }],
  ])('is refused %s', async (_how, headers) => {
    const before = await contents();
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { ...login(OPERATOR), ...headers },
      body: 'id=1',
    });
    expect(response.status).toBe(403);
    expect(await contents()).toEqual(before);
  });
});

describe('a read that another site makes a browser send', () => {
  const elsewhere = 'https://evil.example/page';
  const status = (path: string, headers: Record<string, string>): Promise<number | undefined> =>
    statusOf(`${url}${path}`, { ...login(OPERATOR), ...headers });
  const data = ['/board/api/queues', '/board/api/redis/stats', '/Board/API/queues', '/metrics'];
  const former = ['/api/queues', '/API/queues'];
  const link = {
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
  };

  it.each([
    ['a script', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }],
    [
      'an image',
      { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
    ],
    ['a frame', { ...link, 'sec-fetch-dest': 'iframe' }],
  ])('by %s is refused, whatever it asks for', async (_what, headers) => {
    for (const path of [...data, '/executions/1', '/', '/board']) {
      expect(await status(path, headers), path).toBe(403);
    }
  });

  it('by a browser that sends only Origin or Referer is refused where it is data', async () => {
    for (const path of data) {
      expect(await status(path, { origin: 'https://evil.example' }), path).toBe(403);
      expect(await status(path, { referer: elsewhere }), path).toBe(403);
    }
  });

  it('by a link opens pages and no data', async () => {
    for (const path of ['/', '/executions', '/board', '/board/queue/refresh']) {
      expect(await status(path, link), path).toBe(200);
      expect(await status(path, { referer: elsewhere }), path).toBe(200);
    }
    for (const path of [...data, ...former]) expect(await status(path, link), path).toBe(403);
  });

  it("doesn't keep out the pages themselves, a typed address, or a program", async () => {
    for (const path of data) {
      for (const headers of [
        { 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' },
        { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' },
        { referer: `${url}/board/queue/refresh` },
        {},
      ]) {
        expect(await status(path, headers), path).toBe(200);
      }
    }
  });
});

describe('wrong passwords', () => {
  it('get 429 after ten within a minute, and a right one still gets in from the same address', async () => {
    injectFault(29, 'wrong passwords in a loop');
    const own = await serveDashboard(stores, WITH_PASSWORDS);
    const ask = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${own.url}/metrics`, { headers });
    const wrong = login({ user: 'admin', password: 'guess' });
    for (let n = 0; n < 10; n++) expect((await ask(wrong)).status).toBe(401);
    // Nobody chooses the address that counts.
    const late = await ask({ ...wrong, 'x-forwarded-for': '10.9.8.7' });
    expect(late.status).toBe(429);
    expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await ask(wrong)).status).toBe(429);
    for (const path of OWN_CHANGES) {
      const { status } = await fetch(`${own.url}${path}`, { method: 'POST', headers: wrong });
      expect(status, path).toBe(429);
    }
    expect((await ask({})).status).toBe(401);
    expect((await ask(login(OPERATOR))).status).toBe(200);
    expect((await ask(login(VIEWER))).status).toBe(200);
    const told = own.lines.filter(({ msg }) => String(msg).includes('wrong passwords'));
    expect(told).toHaveLength(1);
    expect(JSON.stringify(own.lines)).not.toContain('guess');
  });

  it('are counted by the address that a trusted proxy names', async () => {
    const own = await serveDashboard(stores, { ...WITH_PASSWORDS, TRUST_PROXY: 'loopback' });
    const status = async (from: string): Promise<number> => {
      const headers = { ...login({ user: 'admin', password: 'guess' }), 'x-forwarded-for': from };
      return (await fetch(`${own.url}/metrics`, { headers })).status;
    };
    for (let n = 0; n < 11; n++) await status('10.0.0.1');
    expect(await status('10.0.0.1')).toBe(429);
    expect(await status('10.0.0.2')).toBe(401);
  });
});

describe('the answers', () => {
  it.each(['/', '/executions', ...OWN_PAGES, '/board'])('of %s isolate the page', async (path) => {
    const { headers } = await fetch(`${url}${path}`, { headers: login(OPERATOR) });
    expect(headers.has('x-powered-by')).toBe(false);
    const policy = headers.get('content-security-policy');
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toMatch(path === '/board' ? /default-src 'self';/ : /script-src 'self';/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('referrer-policy')).toBe('same-origin');
  });

  it('refuse a body of more than 100 kB', async () => {
    const response = await fetch(`${url}/board/api/queues/refresh/add`, {
      method: 'POST',
      headers: { ...login(OPERATOR), 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'x'.repeat(200_000) }),
    });
    expect(response.status).toBe(413);
  });
});
