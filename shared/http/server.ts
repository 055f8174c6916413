import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import helmet, { crossOriginOpenerPolicy } from 'helmet';
import type { Registry } from 'prom-client';
import { readVersion } from '../process/installation.ts';
import type { TrustedProxies } from '../process/setting-kinds.ts';
import { cannotListen } from './cannot-listen.ts';
import { checkHealth, type HealthCheck } from './health.ts';

const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

/**
 * Creates an Express application with strict headers that doesn't reveal what it runs on.
 * @param trustProxy proxies whose X-Forwarded-For is trusted; without any, a client's address is
 *   that of its socket
 */
export function createApp(trustProxy: TrustedProxies = false): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', trustProxy);
  app.use(
    helmet({
      // For answers that are data. Pages set a policy of their own.
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      crossOriginOpenerPolicy: false,
      // Plain HTTP on this machine is normal, and a proxy that adds TLS sets this header itself.
      strictTransportSecurity: false,
    }),
    openerPolicyWhereHeeded,
  );
  return app;
}

// Over plain HTTP from elsewhere, browsers ignore this header and log a complaint for every page.
const openerPolicy = crossOriginOpenerPolicy();
const openerPolicyWhereHeeded: RequestHandler = (request, response, next) => {
  if (request.secure || LOCAL_HOSTS.has(hostOf(request))) openerPolicy(request, response, next);
  else next();
};

function hostOf({ headers }: IncomingMessage): string {
  return (headers.host ?? '').replace(/:\d+$/, '').toLowerCase();
}

/**
 * Adds `/healthz` (the process runs) and `/readyz` (it can do its work).
 * @param options.details whether `/readyz` tells the version and lists the checks in its body
 */
export function addHealth(
  app: Express,
  checks: readonly HealthCheck[],
  options: { readonly details: boolean },
): void {
  const version = readVersion();
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.get('/readyz', async (_request, response) => {
    const health = await checkHealth(checks);
    const status = health.ready ? 'ready' : 'not ready';
    response
      .status(health.ready ? 200 : 503)
      .json(options.details ? { status, version, ...health.checks } : { status });
  });
}

/** Adds `/metrics` in the format of Prometheus. */
export function addMetrics(app: Express, registry: Registry): void {
  app.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(await registry.metrics());
  });
}

/**
 * Refuses requests whose Host isn't this machine, for servers without a password: a page on the
 * internet can make a browser send requests to 127.0.0.1 under the page's own name (DNS rebinding).
 */
export const requireLocalHost: RequestHandler = (request, response, next) => {
  if (LOCAL_HOSTS.has(hostOf(request))) {
    next();
    return;
  }
  response.status(403).json({
    error: {
      code: 'FOREIGN_HOST',
      message:
        'without a password or token, only requests to localhost, 127.0.0.1 or [::1] are answered',
    },
  });
};

const answerNotFound: RequestHandler = (_request, response) => {
  response.status(404).json({ error: { code: 'NOT_FOUND', message: 'there is nothing here' } });
};

// Replaces Express' error page, which shows the stack.
const answerError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) {
    next(error);
    return;
  }
  const status = error instanceof Error && 'status' in error ? Number(error.status) : 500;
  const refused = status >= 400 && status < 500;
  response.status(refused ? status : 500).json({
    error: refused
      ? { code: 'BAD_REQUEST', message: 'the request is not valid' }
      : { code: 'INTERNAL', message: 'this should not have happened; the log may tell more' },
  });
};

/** A server that listens. */
export interface RunningServer {
  readonly port: number;
  /** Stops listening, closes idle connections and waits for answers in progress. */
  close(): Promise<void>;
}

/**
 * Starts listening, and adds the answers for unknown paths and for errors.
 * @param port 0 for any free port
 * @param variable the setting that an error names
 * @throws TallyError PORT_IN_USE or CANNOT_LISTEN
 */
export async function listen(
  app: Express,
  host: string,
  port: number,
  variable: string,
): Promise<RunningServer> {
  app.use(answerNotFound, answerError);
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(error, host, port, variable)));
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () => closeServer(server),
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // A connection becomes idle after its last answer, and would then stay open for the client.
    const sweep = setInterval(() => server.closeIdleConnections(), 50);
    server.close(() => {
      clearInterval(sweep);
      resolve();
    });
    server.closeIdleConnections();
  });
}
