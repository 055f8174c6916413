import type { Express } from 'express';
import { contentSecurityPolicy } from 'helmet';
import type { Registry } from 'prom-client';
import type { Config } from '../shared/config.ts';
import type { HealthCheck } from '../shared/health.ts';
import { addHealth, addMetrics, createApp, requireLocalHost } from '../shared/http-server.ts';
import type { RefreshQueue } from '../shared/refresh-queue.ts';
import { refuseCrossSite, requirePassword } from './auth.ts';
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

/**
 * The dashboard: health for anyone, everything else behind the password once one is set, and without one
 * for this machine only.
 */
export function createDashboard(
  config: Config,
  parts: {
    readonly queue: RefreshQueue;
    readonly registry: Registry;
    readonly checks: readonly HealthCheck[];
  },
): Express {
  const app = createApp();
  addHealth(app, parts.checks, { details: false });
  app.use(
    config.DASHBOARD_PASSWORD === undefined
      ? requireLocalHost
      : requirePassword(config.DASHBOARD_USER, config.DASHBOARD_PASSWORD),
  );
  app.use(refuseCrossSite);
  app.use(boardPolicy);
  addMetrics(app, parts.registry);
  app.use('/', createBoard(parts.queue));
  return app;
}
