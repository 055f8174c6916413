import { Router, type Express, type RequestHandler } from 'express';
import { contentSecurityPolicy, referrerPolicy } from 'helmet';
import type { Redis } from 'ioredis';
import type { Registry } from 'prom-client';
import type { Config } from '../shared/process/config.ts';
import type { Database } from '../shared/postgres/database.ts';
import type { HealthCheck } from '../shared/http/health.ts';
import { addHealth, addMetrics, createApp, requireLocalHost } from '../shared/http/server.ts';
import type { Logger } from '../shared/process/logger.ts';
import type { BacklogQueue } from '../shared/queue/backlog-queue.ts';
import type { RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { logChanges } from './audit.ts';
import { accountsOf, refuseCrossSite, refuseViewersChanges, requirePassword } from './auth.ts';
import { createBoard } from './board.ts';
import { createExecutionPages } from './execution/execution-page.ts';
import { overviewPage } from './overview/overview-view.ts';
import { PAGE_STYLE } from './page-style.ts';
import { pagePolicy } from './page.ts';

// Bull Board styles its elements in place; everything else comes from its own files.
const boardHeaders = contentSecurityPolicy({
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
    readonly database: Database;
    readonly redis: Redis;
    readonly queue: RefreshQueue;
    readonly backlogQueue: BacklogQueue;
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
  app.use(boardHeaders, ownReferrer, notStored);
  addMetrics(app, parts.registry);
  app.use(ownPages(config, parts));
  app.use('/', createBoard(parts));
  return app;
}

function ownPages(config: Config, parts: Parameters<typeof createDashboard>[1]): Router {
  const router = Router();
  router.use(['/executions', '/overview', '/tally.css'], pagePolicy);
  router.get('/tally.css', (_request, response) => {
    response.setHeader('Cache-Control', 'private, max-age=60');
    response.type('css').send(PAGE_STYLE);
  });
  router.get('/overview', overviewPage({ config, ...parts }));
  router.use(createExecutionPages(parts));
  return router;
}

// What only someone with a password may see is nothing for a cache on the way. Bull Board's own files name
// their caching themselves.
const notStored: RequestHandler = (_request, response, next) => {
  response.setHeader('Cache-Control', 'no-store');
  next();
};
