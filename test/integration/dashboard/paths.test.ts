import { describe, expect, it } from 'vitest';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createExecutions } from '../../support/executions.ts';
import { createStores } from '../../support/stores.ts';

const stores = await createStores();
const atRoot = await serveDashboard(stores, { DASHBOARD_ENVIRONMENT: 'staging <2>' });
const below = await serveDashboard(stores, { ...WITH_PASSWORDS, BASE_PATH: '/ops/tally/' });
const [id = 0] = await createExecutions(stores.database, 1);

interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

async function ask(address: string, init: Asked = {}): Promise<Response> {
  return fetch(address, {
    ...init,
    redirect: 'manual',
    headers: { accept: 'text/html', ...login(OPERATOR), ...init.headers },
  });
}

/** The addresses in a page's links, forms and assets. */
async function linksOn(address: string): Promise<string[]> {
  const text = await (await ask(address)).text();
  return [...text.matchAll(/ (?:href|src|action)="([^"]*)"/g)].map(([, link = '']) => link);
}

describe('what was at another path', () => {
  it.each([
    ['/overview', '/'],
    ['/queue/refresh?status=failed', '/board/queue/refresh?status=failed'],
    ['/queue/refresh/42%3ASCAN%3Aabc', '/board/queue/refresh/42%3ASCAN%3Aabc'],
    ['/static/favicon.ico', '/board/static/favicon.ico'],
  ])('%s leads to %s', async (path, target) => {
    const response = await ask(`${atRoot.url}${path}`);
    expect(response.status).toBe(308);
    expect(response.headers.get('location')).toBe(target);
    // A browser that remembered it would break a later move.
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect((await ask(`${atRoot.url}${target}`)).status).toBeLessThan(405);
  });

  it("the board's API answers at its former path without a redirect, changes too", async () => {
    expect((await ask(`${atRoot.url}/api/queues`)).status).toBe(200);
    expect((await ask(`${atRoot.url}/api/queues/pause`, { method: 'PUT' })).status).toBe(200);
    expect(await stores.queue.isPaused()).toBe(true);
    await stores.queue.resume();
    const viewers = await ask(`${below.url}/api/queues/pause`, {
      method: 'PUT',
      headers: login(VIEWER),
    });
    expect(viewers.status).toBe(403);
    expect(await stores.queue.isPaused()).toBe(false);
  });
});

describe('the menu', () => {
  it.each(['/', '/executions', `/executions/${id}`, '/executions/0'])(
    'on %s leads to the overview, the executions and the board',
    async (path) => {
      const links = await linksOn(`${atRoot.url}${path}`);
      expect(links).toEqual(
        expect.arrayContaining(['/', '/executions', '/board/queue/refresh', '/tally.css']),
      );
    },
  );

  it('shows version and environment, on the board too', async () => {
    const page = await (await ask(`${atRoot.url}/`)).text();
    expect(page).toMatch(/Tally \d+\.\d+\.\d+/);
    expect(page).toContain('staging &#60;2&#62;');
    const board = await (await ask(`${atRoot.url}/board`)).text();
    const config = /id="__UI_CONFIG__" type="application\/json">(.*?)<\/script>/.exec(board)?.[1];
    expect(JSON.parse(config ?? '')).toMatchObject({
      boardTitle: expect.stringMatching(/^Tally \d/),
      boardLogo: { path: '/tally.svg' },
      environment: { label: 'staging <2>' },
      miscLinks: [
        { text: 'Overview', url: '/' },
        { text: 'Executions', url: '/executions' },
      ],
      theme: { light: { primary: '#2563eb' }, dark: { primary: '#7aa7ff' } },
    });
  });
});

describe('with BASE_PATH', () => {
  const BASE = '/ops/tally';

  // A proxy may pass the path on as it is, or remove BASE_PATH.
  it.each([BASE, ''])('every link begins with it, for a proxy that asks for "%s/"', async (at) => {
    for (const path of ['/', '/executions', `/executions/${id}`, '/board']) {
      const links = await linksOn(`${below.url}${at}${path}`);
      const relative = path === '/board' ? /^static\// : /^$/;
      const wrong = links.filter((link) => !link.startsWith(`${BASE}/`) && !relative.test(link));
      expect(wrong, path).toEqual([]);
      expect(links.length, path).toBeGreaterThan(4);
    }
    const find = await ask(`${below.url}${at}/executions?id=${id}`);
    expect(find.headers.get('location')).toBe(`${BASE}/executions/${id}`);
    const refresh = await ask(`${below.url}${at}/executions/${id}/refresh`, { method: 'POST' });
    expect(refresh.headers.get('location')).toBe(`${BASE}/executions/${id}?asked`);
    const moved = await ask(`${below.url}${at}/queue/refresh`);
    expect(moved.headers.get('location')).toBe(`${BASE}/board/queue/refresh`);
    expect((await ask(`${below.url}${at}/board/api/queues`)).status).toBe(200);
    expect((await ask(`${below.url}${at}/healthz`)).status).toBe(200);
  });

  it('the guards see through it', async () => {
    const pause = `${below.url}${BASE}/board/api/queues/pause`;
    expect((await fetch(pause, { method: 'PUT' })).status).toBe(401);
    expect((await ask(pause, { method: 'PUT', headers: login(VIEWER) })).status).toBe(403);
    const cross = { referer: 'https://evil.example/page' };
    for (const path of ['/board/api/queues', '/api/queues', '/metrics']) {
      expect((await ask(`${below.url}${BASE}${path}`, { headers: cross })).status, path).toBe(403);
    }
  });

  it('a path that only begins with the same letters is not below it', async () => {
    expect((await ask(`${below.url}${BASE}x`)).status).toBe(404);
  });
});
