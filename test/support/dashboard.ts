import { createBullBoard } from '@bull-board/api';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import { createDashboard } from '../../dashboard/app.ts';
import { Repairs } from '../../dashboard/repair/repairs.ts';
import { loadConfig } from '../../shared/process/config.ts';
import { listen } from '../../shared/http/server.ts';
import { openBacklogQueue } from '../../shared/queue/backlog-queue.ts';
import { createRegistry } from '../../shared/process/metrics.ts';
import type { Stores } from './stores.ts';

export const OPERATOR = { user: 'admin', password: 'the-operators-word' };
export const VIEWER = { user: 'viewer', password: 'the-viewers-word' };
export const WITH_PASSWORDS = {
  DASHBOARD_PASSWORD: OPERATOR.password,
  DASHBOARD_VIEWER_PASSWORD: VIEWER.password,
};

export interface ServedDashboard {
  readonly url: string;
  /** Lines of its log, parsed. */
  readonly lines: readonly Record<string, unknown>[];
}

/** Serves the dashboard from this process until the file is done. */
export async function serveDashboard(
  stores: Stores,
  settings: Readonly<Record<string, string>> = {},
): Promise<ServedDashboard> {
  const config = loadConfig([], { ...stores.environment, ...settings });
  const lines: Record<string, unknown>[] = [];
  const log = pino({}, { write: (line) => void lines.push(JSON.parse(line) as (typeof lines)[0]) });
  const repairs = new Repairs(log);
  const app = createDashboard(config, {
    database: stores.database,
    redis: stores.redis,
    queue: stores.queue,
    backlogQueue: openBacklogQueue(config, stores.redis),
    registry: createRegistry(),
    checks: [],
    repairs,
    log,
  });
  const server = await listen(app, '127.0.0.1', 0, 'DASHBOARD_PORT');
  afterAll(async () => {
    await server.close();
    await repairs.close();
  });
  return { url: `http://127.0.0.1:${server.port}`, lines };
}

/** The header that a browser sends once a user has logged in. */
export function login({ user, password }: { user: string; password: string }): {
  readonly authorization: string;
} {
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
}

/** Every route of Bull Board's API, asked of Bull Board itself. */
export function boardRoutes(): { readonly method: string; readonly route: string }[] {
  const routes: { method: string; route: string }[] = [];
  const adapter: Parameters<typeof createBullBoard>[0]['serverAdapter'] = {
    setQueues: () => adapter,
    setViewsPath: () => adapter,
    setStaticPath: () => adapter,
    setEntryRoute: () => adapter,
    setErrorHandler: () => adapter,
    setUIConfig: () => adapter,
    setApiRoutes: (registered) => {
      for (const { method, route } of registered) {
        for (const oneMethod of [method].flat()) {
          for (const oneRoute of [route].flat())
            routes.push({ method: oneMethod, route: oneRoute });
        }
      }
      return adapter;
    },
  };
  createBullBoard({ queues: [], serverAdapter: adapter });
  return routes;
}
