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
import { LIST_STYLE } from './executions/list-style.ts';
import { createSelectionPages } from './executions/selection-page.ts';
import { BOARD_PATH } from './links.ts';
import { LOGO } from './logo.ts';
import { CHART_STYLE } from './overview/chart-style.ts';
import { DisagreementCounter } from './overview/disagreement-count.ts';
import { overviewPage } from './overview/overview-view.ts';
import { PAGE_STYLE } from './page-style.ts';
import { pagePolicy } from './page.ts';
import { formerApi, redirectFormerPages, withoutBasePath } from './paths.ts';
import { createRepairPages } from './repair/repair-pages.ts';
import type { Repairs } from './repair/repairs.ts';
import { serveScripts } from './script.ts';
import { setSite, siteFor } from './site.ts';

// Bull Board sets inline styles, so those must be allowed; everything else is served from here.
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

// Helmet's default, "no-referrer", makes browsers send our own forms with the origin "null", and
// `refuseCrossSite` would refuse them.
const ownReferrer = referrerPolicy({ policy: 'same-origin' });

/**
 * The dashboard as an Express application. Health is public. Everything else needs the password or,
 * while none is set, a request from this machine. Every change is logged, refused ones included.
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
    readonly repairs: Repairs;
    readonly log: Logger;
  },
): Express {
  const app = createApp(config.TRUST_PROXY);
  const site = siteFor(config);
  setSite(app, site);
  app.use(withoutBasePath(config.BASE_PATH), formerApi);
  addHealth(app, parts.checks, { details: false });
  const accounts = accountsOf(config);
  app.use(accounts.length === 0 ? requireLocalHost : requirePassword(accounts, parts.log));
  app.use(logChanges(parts.log), refuseCrossSite, refuseViewersChanges);
  app.use(ownReferrer, notStored);
  addMetrics(app, parts.registry);
  app.use(BOARD_PATH, boardHeaders, createBoard(parts, site));
  app.use(redirectFormerPages(site.links), ownPages(config, parts));
  return app;
}

function ownPages(config: Config, parts: Parameters<typeof createDashboard>[1]): Router {
  const router = Router();
  const disagreements = new DisagreementCounter(parts.database, parts.log);
  router.use(pagePolicy);
  router.get('/tally.css', keptAMinute, (_request, response) => {
    response.type('css').send(`${PAGE_STYLE}${CHART_STYLE}${LIST_STYLE}`);
  });
  router.get('/scripts/:file', keptAMinute, serveScripts());
  router.get('/tally.svg', keptAMinute, (_request, response) => {
    response.type('svg').send(LOGO);
  });
  router.get('/', overviewPage({ config, ...parts, disagreements }));
  router.use(createSelectionPages(parts), createExecutionPages(parts));
  router.use(createRepairPages({ ...parts, disagreements }));
  return router;
}

const keptAMinute: RequestHandler = (_request, response, next) => {
  response.setHeader('Cache-Control', 'private, max-age=60');
  next();
};

// A shared cache must not keep what only someone with a password may see. Bull Board's static files
// set their own Cache-Control.
const notStored: RequestHandler = (_request, response, next) => {
  response.setHeader('Cache-Control', 'no-store');
  next();
};
