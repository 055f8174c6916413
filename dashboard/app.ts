import type { Express, RequestHandler } from 'express';
import { contentSecurityPolicy, referrerPolicy } from 'helmet';
import type { Registry } from 'prom-client';
import type { Config } from '../shared/config.ts';
import type { HealthCheck } from '../shared/health.ts';
import { addHealth, addMetrics, createApp, requireLocalHost } from '../shared/http-server.ts';
import type { Logger } from '../shared/logger.ts';
import type { RefreshQueue } from '../shared/refresh-queue.ts';
import { logChanges } from './audit.ts';
import { accountsOf, refuseCrossSite, refuseViewersChanges, requirePassword } from './auth.ts';
import { createBoard } from './board.ts';

// Bull Board styles its elements in place; everything else comes from its own files.
const boardPolicy = contentSecurityPolicy({
  useDefaults: false,
  directives: {
    defaultSrc: ["'self'"],
    styleSrc: ["'self'", "'unsafe-inline'"],
    imgSrc: ["'self'", 'data:'],
    objectSrc: ["'none'"],
    baseUri: ["'self'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
});

// With "no-referrer" a browser hides the origin of our own forms as well, and they would be refused.
const ownReferrer = referrerPolicy({ policy: 'same-origin' });

/**
 * The dashboard: health for anyone, everything else behind the password once one is set, and without one
 * for this machine only. Every change is logged, also one that is refused.
 */
export function createDashboard(
  config: Config,
  parts: {
    readonly queue: RefreshQueue;
    readonly registry: Registry;
    readonly checks: readonly HealthCheck[];
    readonly log: Logger;
  },
): Express {
  const app = createApp(config.TRUST_PROXY);
  addHealth(app, parts.checks, { details: false });
  const accounts = accountsOf(config);
  app.use(accounts.length === 0 ? requireLocalHost : requirePassword(accounts, parts.log));
  app.use(logChanges(parts.log), refuseCrossSite, refuseViewersChanges);
  app.use(boardPolicy, ownReferrer, notStored);
  addMetrics(app, parts.registry);
  app.use('/', createBoard(parts.queue));
  return app;
}

// What only someone with a password may see is nothing for a cache on the way. Bull Board's own files name
// their caching themselves.
const notStored: RequestHandler = (_request, response, next) => {
  response.setHeader('Cache-Control', 'no-store');
  next();
};
