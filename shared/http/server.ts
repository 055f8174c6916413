import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import helmet, { crossOriginOpenerPolicy } from 'helmet';
import type { Registry } from 'prom-client';
import type { TrustedProxies } from '../process/config.ts';
import { cannotListen } from './cannot-listen.ts';
import { checkHealth, type HealthCheck } from './health.ts';

const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

/**
 * An Express application that tells nobody what it is made of, with plain answers to what isn't there.
 * @param trustProxy whose X-Forwarded-For is believed; otherwise a client's address is its socket's
 */
export function createApp(trustProxy: TrustedProxies = false): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', trustProxy);
  app.use(
    helmet({
      // For answers that are data. Whoever serves pages sets another one.
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      crossOriginOpenerPolicy: false,
      // Plain HTTP on the host itself is normal; the proxy that adds TLS also adds this header.
      strictTransportSecurity: false,
    }),
    openerPolicyWhereHeeded,
  );
  return app;
}

// Elsewhere browsers ignore it and complain in their console with every page.
const openerPolicy = crossOriginOpenerPolicy();
const openerPolicyWhereHeeded: RequestHandler = (request, response, next) => {
  if (request.secure || LOCAL_HOSTS.has(hostOf(request))) openerPolicy(request, response, next);
  else next();
};

function hostOf({ headers }: IncomingMessage): string {
  return (headers.host ?? '').replace(/:\d+$/, '').toLowerCase();
}

/** `/healthz` (the process runs) and `/readyz` (it can do its work); `details` puts the checks in the body. */
export function addHealth(
  app: Express,
  checks: readonly HealthCheck[],
  options: { readonly details: boolean },
): void {
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.get('/readyz', async (_request, response) => {
    const health = await checkHealth(checks);
    const status = health.ready ? 'ready' : 'not ready';
    response
      .status(health.ready ? 200 : 503)
      .json(options.details ? { status, ...health.checks } : { status });
  });
}

export function addMetrics(app: Express, registry: Registry): void {
  app.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(await registry.metrics());
  });
}

/**
 * Answers only requests that name this machine as their host. For servers without a password: a
 * page of the internet can make a browser send requests to 127.0.0.1 under its own name (DNS rebinding).
 */
export const requireLocalHost: RequestHandler = (request, response, next) => {
  if (LOCAL_HOSTS.has(hostOf(request))) {
    next();
    return;
  }
  response.status(403).json({
    error: {
      code: 'FOREIGN_HOST',
      message: 'without a password or token only localhost, 127.0.0.1 and [::1] are answered',
    },
  });
};

const answerNotFound: RequestHandler = (_request, response) => {
  response.status(404).json({ error: { code: 'NOT_FOUND', message: 'there is nothing here' } });
};

// Express' own page shows the stack.
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

export interface RunningServer {
  readonly port: number;
  /** Stops listening, ends idle connections, waits for answers in progress. */
  close(): Promise<void>;
}

/**
 * Listens.
 * @param port 0: any free one
 * @param variable the setting that the error names when the port is taken
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
    // A connection becomes idle when its last answer is out, and would then be kept for the client.
    const sweep = setInterval(() => server.closeIdleConnections(), 50);
    server.close(() => {
      clearInterval(sweep);
      resolve();
    });
    server.closeIdleConnections();
  });
}
