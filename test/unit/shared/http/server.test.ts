import { Agent, request, type RequestOptions, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { Gauge, Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Express } from 'express';
import { httpAddress } from '../../../../shared/http/address.ts';
import type { HealthCheck } from '../../../../shared/http/health.ts';
import { readVersion } from '../../../../shared/process/installation.ts';
import {
  addHealth,
  addMetrics,
  createApp,
  listen,
  requireLocalHost,
  type RunningServer,
} from '../../../../shared/http/server.ts';

let app: Express;
const servers: RunningServer[] = [];

beforeEach(() => {
  app = createApp();
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(port = 0): Promise<RunningServer> {
  const server = await listen(app, '127.0.0.1', port, 'PRODUCER_PORT');
  servers.push(server);
  return server;
}

async function get(path: string): Promise<Response> {
  const { port } = await serve();
  return fetch(`http://127.0.0.1:${port}${path}`);
}

/** Like a browser that was told that this name is 127.0.0.1; fetch doesn't let us choose the header. */
async function statusFor(host: string): Promise<number | undefined> {
  const { port } = await serve();
  return ask({ port, path: '/', headers: { host } });
}

/** The status of an answer that was read to its end. */
function ask(options: RequestOptions): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', ...options }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    })
      .on('error', reject)
      .end();
  });
}

async function fail(): Promise<never> {
  throw new Error('boom');
}

/** Adds /slow. Resolves when it was asked, with how to answer it. */
function addSlowAnswer(headers: Readonly<Record<string, string>> = {}): Promise<() => void> {
  return new Promise((resolve) => {
    app.get('/slow', (_request, response) => {
      resolve(() => void response.set(headers).send('done'));
    });
  });
}

describe('requireLocalHost', () => {
  beforeEach(() => {
    app.use(requireLocalHost);
    app.get('/', (_request, response) => void response.send('ok'));
  });

  it.each([
    'localhost',
    'localhost:3000',
    'LOCALHOST:3000',
    '127.0.0.1',
    '127.0.0.1:3000',
    '[::1]',
    '[::1]:3000',
  ])('answers %s', async (host) => {
    expect(await statusFor(host)).toBe(200);
  });

  it.each([
    'evil.example',
    'evil.example:3000',
    'localhost.evil.example',
    'evil-localhost',
    '127.0.0.1.evil.example',
    '127.0.0.1:3000.evil.example',
    '10.0.0.1',
    '0.0.0.0',
    '[::2]',
    'localhost@evil.example',
    '2130706433',
  ])('refuses the foreign host %j', async (host) => {
    expect(await statusFor(host)).toBe(403);
  });
});

describe('health', () => {
  const version = readVersion();
  const redisAway: HealthCheck = { name: 'redis', required: true, check: async () => 'away' };
  const postgresUp: HealthCheck = {
    name: 'postgres',
    required: true,
    check: async () => undefined,
  };

  it('/healthz says that the process runs, whatever it lacks', async () => {
    addHealth(app, [redisAway], { details: true });
    const response = await get('/healthz');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
  });

  it('/readyz is 200 when all is there', async () => {
    addHealth(app, [postgresUp], { details: true });
    const response = await get('/readyz');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ready', version, postgres: 'up' });
  });

  it('/readyz is 503 when something is unavailable, and details name it', async () => {
    addHealth(app, [postgresUp, redisAway], { details: true });
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      status: 'not ready',
      version,
      postgres: 'up',
      redis: 'away',
    });
  });

  it('/readyz without details shows nothing but the status', async () => {
    addHealth(app, [postgresUp, redisAway], { details: false });
    const response = await get('/readyz');
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'not ready' });
  });
});

describe('what an app reveals about itself', () => {
  it('no answer has x-powered-by, and browsers may not guess types or frame it', async () => {
    addHealth(app, [], { details: true });
    const { headers } = await get('/healthz');
    expect(headers.get('x-powered-by')).toBeNull();
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('x-frame-options')).toBe('SAMEORIGIN');
  });

  it("an unknown path is answered plainly, not with Express' page", async () => {
    const response = await get('/no/such/path');
    expect(response.status).toBe(404);
    expect(await response.text()).not.toMatch(/<html|Cannot GET/);
  });

  it('an error inside is answered with 500 and without a stack trace', async () => {
    const registry = new Registry();
    addMetrics(app, registry);
    registry.registerMetric(
      new Gauge({ name: 'tally_test', help: 'x', registers: [], collect: fail }),
    );
    const response = await get('/metrics');
    expect(response.status).toBe(500);
    expect(await response.text()).not.toMatch(/boom|\.ts:\d+|node_modules/);
  });

  it('/metrics has what was registered, in the format of Prometheus', async () => {
    const registry = new Registry();
    new Gauge({ name: 'tally_test', help: 'a number', registers: [registry] }).set(7);
    addMetrics(app, registry);
    const response = await get('/metrics');
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; ?version=/);
    expect(await response.text()).toContain('tally_test 7');
  });
});

describe('listening', () => {
  it('on port 0 gives the port that was found', async () => {
    expect((await serve()).port).toBeGreaterThan(0);
  });

  it('on a port in use fails with the port and the variable to change', async () => {
    const { port } = await serve();
    await expect(serve(port)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `port ${port} on 127.0.0.1 is in use; set PRODUCER_PORT to another one`,
    });
  });

  it('on an address of another machine fails with the variable to change', async () => {
    // 192.0.2.0/24 is for documentation: no machine has it.
    await expect(listen(app, '192.0.2.1', 0, 'WORKER_PORT')).rejects.toMatchObject({
      code: 'CANNOT_LISTEN',
      message: expect.stringMatching(/no network interface .*192\.0\.2\.1 .*set HTTP_HOST/),
    });
  });

  it('on a name that nobody knows fails with the name', async () => {
    await expect(listen(app, 'no.such.invalid', 0, 'WORKER_PORT')).rejects.toMatchObject({
      code: 'CANNOT_LISTEN',
      message: expect.stringMatching(/^the name no\.such\.invalid does not resolve/),
    });
  });

  it('on IPv6 gives an address that a browser can open', async () => {
    const server = await listen(app, '::1', 0, 'WORKER_PORT');
    servers.push(server);
    const address = httpAddress('::1', server.port);
    expect(address).toBe(`http://[::1]:${server.port}`);
    expect((await fetch(`${address}/nothing`)).status).toBe(404);
    expect(httpAddress('127.0.0.1', 3000)).toBe('http://127.0.0.1:3000');
  });

  it('ends at close, but an answer in progress is finished', async () => {
    const slow = addSlowAnswer({ connection: 'close' });
    const server = await serve();
    const response = fetch(`http://127.0.0.1:${server.port}/slow`);
    const answer = await slow;
    const closed = server.close();
    await expect(fetch(`http://127.0.0.1:${server.port}/slow`)).rejects.toThrow();
    answer();
    expect(await (await response).text()).toBe('done');
    await closed;
  });

  it("a connection whose last answer is out doesn't hold up closing", async () => {
    // A connection that neither side ever closes by itself.
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    app.use(({ socket }, _response, next) => {
      (socket as Socket & { server: Server }).server.keepAliveTimeout = 0;
      next();
    });
    const slow = addSlowAnswer();
    const server = await serve();
    const response = ask({ agent, port: server.port, path: '/slow' });
    const answer = await slow;
    const closed = server.close();
    answer();
    expect(await response).toBe(200);
    await closed;
  });
});
