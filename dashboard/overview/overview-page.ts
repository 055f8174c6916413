import type { RequestHandler } from 'express';
import { overviewBody } from './overview-view.ts';
import { readOverview } from './overview.ts';
import { sendPage } from '../page.ts';

const RELOAD_SECONDS = 10;

/** `/overview`: who does what, what waits, what failed and why. It shows what is known when a store is away. */
export function overviewPage(parts: Parameters<typeof readOverview>[0]): RequestHandler {
  return async (_request, response) => {
    const overview = await readOverview(parts);
    const away = overview.redisIsAway || overview.databaseIsAway;
    sendPage(response, away ? 503 : 200, {
      title: 'Overview',
      here: 'overview',
      reloadSeconds: RELOAD_SECONDS,
      body: overviewBody(overview, Date.now()),
    });
  };
}
