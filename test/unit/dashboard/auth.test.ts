import { request as httpRequest } from 'node:http';
import type { RequestHandler } from 'express';
import { afterEach, describe, expect, it } from 'vitest';
import { refuseCrossSite, requirePassword } from '../../../dashboard/auth.ts';
import { createApp, listen, type RunningServer } from '../../../shared/http/server.ts';
import { silent } from '../../support/stores.ts';

type Headers = Readonly<Record<string, string>>;

const servers: RunningServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(handler: RequestHandler): Promise<number> {
  const app = createApp().use(handler);
  app.use((_request, response) => void response.send('inside'));
  const server = await listen(app, '127.0.0.1', 0, 'DASHBOARD_PORT');
  servers.push(server);
  return server.port;
}

function basic(credentials: string): Headers {
  return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}

async function ask(headers: Headers): Promise<Response> {
  const port = await serve(
    requirePassword([{ user: 'admin', password: 'gehéim:pass', role: 'operator' }], silent),
  );
  return fetch(`http://127.0.0.1:${port}/`, { headers });
}

/** fetch doesn't let us choose these headers, as browsers don't let pages. */
async function statusOf(method: string, headersFor: (host: string) => Headers): Promise<unknown> {
  const port = await serve(refuseCrossSite);
  const headers = headersFor(`127.0.0.1:${port}`);
  return new Promise((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, method, headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    })
      .on('error', reject)
      .end();
  });
}

describe('the password', () => {
  it('lets in who has it, also with a colon and an accent', async () => {
    const response = await ask(basic('admin:gehéim:pass'));
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('inside');
  });

  it.each([
    ['nothing', {}],
    ['a wrong user', basic('root:gehéim:pass')],
    ['a user in other letters', basic('Admin:gehéim:pass')],
    ['a wrong password', basic('admin:another')],
    ['the beginning of the password', basic('admin:gehéim')],
    ['an empty password', basic('admin:')],
    ['user and password swapped', basic('gehéim:pass:admin')],
    ['no colon', basic('admin')],
    ['another scheme', { authorization: 'Bearer gehéim:pass'.replace('é', 'e') }],
    ['no base64', { authorization: 'Basic ???' }],
  ])('keeps out who sends %s, and makes browsers ask', async (_what, headers: Headers) => {
    const response = await ask(headers);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toMatch(/^Basic realm="Tally"/);
    const body = await response.text();
    expect(body).not.toContain('inside');
    expect(body).not.toContain('gehéim');
  });
});

describe('refuseCrossSite', () => {
  const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

  it.each([
    ['cross-site', 'POST'],
    ['cross-site', 'PUT'],
    ['cross-site', 'PATCH'],
    ['cross-site', 'DELETE'],
    ['same-site', 'POST'],
    ['', 'POST'],
  ])('a browser that says Sec-Fetch-Site: %s may not %s', async (site, method) => {
    const headers = { ...FORM, 'sec-fetch-site': site };
    expect(await statusOf(method, () => headers)).toBe(403);
  });

  it.each(['same-origin', 'none'])('a browser that says Sec-Fetch-Site: %s may', async (site) => {
    expect(await statusOf('POST', () => ({ ...FORM, 'sec-fetch-site': site }))).toBe(200);
  });

  it('what the browser says of the site counts more than a fitting Origin', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'http://tally.example' };
    expect(await statusOf('POST', () => ({ ...headers, host: 'tally.example' }))).toBe(403);
    expect(await statusOf('POST', () => ({ origin: headers.origin, host: 'tally.example' }))).toBe(
      200,
    );
  });

  it.each(['https://evil.example', 'null', '', 'http://127.0.0.1', 'http://127.0.0.1:1'])(
    'a change with the foreign origin %j is refused',
    async (origin) => {
      expect(await statusOf('POST', () => ({ ...FORM, origin }))).toBe(403);
    },
  );

  it.each(['http', 'https'])('a change with our own origin over %s passes', async (scheme) => {
    const headers = (host: string): Headers => ({ ...FORM, origin: `${scheme}://${host}` });
    expect(await statusOf('POST', headers)).toBe(200);
  });

  it.each(['GET', 'HEAD', 'OPTIONS'])('a %s changes nothing and passes', async (method) => {
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' };
    expect(await statusOf(method, () => headers)).toBe(200);
  });

  it('a program, which sends neither header, passes', async () => {
    expect(await statusOf('POST', () => ({ 'content-type': 'application/json' }))).toBe(200);
    expect(await statusOf('POST', () => ({}))).toBe(200);
  });

  it.each(['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/plain'])(
    'neither header and a body of type %s, which an old browser would send for any page, is refused',
    async (type) => {
      const headers = { 'content-type': type, 'content-length': '0' };
      expect(await statusOf('POST', () => headers)).toBe(403);
    },
  );
});
