import type { StoresConfig } from '../shared/process/config.ts';
import { openDatabase } from '../shared/postgres/database.ts';
import { httpAddress } from '../shared/http/address.ts';
import { listen } from '../shared/http/server.ts';
import type { Lifecycle } from '../shared/process/lifecycle.ts';
import type { Logger } from '../shared/process/logger.ts';
import { createRegistry } from '../shared/process/metrics.ts';
import { openBacklogQueue } from '../shared/queue/backlog-queue.ts';
import { connectRedis } from '../shared/queue/redis.ts';
import { versionProblem, warnOfServer } from '../shared/queue/redis-server.ts';
import { countJobs, openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import { schemaProblem } from '../shared/postgres/schema.ts';
import { createDashboard } from './app.ts';
import { refuseUnprotected } from './protection.ts';
import { Repairs } from './repair/repairs.ts';

/**
 * Starts the dashboard; the lifecycle stops it. Resolves once it listens.
 * @throws UsageError if it would listen beyond this machine without a password
 * @throws TallyError PORT_IN_USE or CANNOT_LISTEN
 */
export async function runDashboard(
  config: StoresConfig,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  refuseUnprotected(config);
  const database = openDatabase(config.DATABASE_URL, log, {
    connections: 4,
    name: 'dashboard',
    connectTimeoutMs: 2_000,
    statementTimeoutMs: 2_000,
  });
  lifecycle.onStop('Postgres', () => database.close());
  const redis = connectRedis(config, 'failFast', log);
  lifecycle.onStop('Redis', () => redis.disconnect());
  warnOfServer(redis, log);
  const queue = openRefreshQueue(config, redis);
  lifecycle.onStop('the queue', () => queue.close());
  const backlogQueue = openBacklogQueue(config, redis);
  lifecycle.onStop('the queue of the backlog', () => backlogQueue.close());
  const repairs = new Repairs(log);
  lifecycle.onStop('repairs', () => repairs.close());
  const app = createDashboard(config, {
    repairs,
    database,
    redis,
    queue,
    backlogQueue,
    registry: createRegistry(),
    log,
    checks: [
      {
        name: 'redis',
        required: true,
        check: async () => {
          await countJobs(queue);
          return versionProblem(redis);
        },
      },
      // Without Postgres the board still works, and the pages say what is missing.
      { name: 'postgres', required: false, check: () => schemaProblem(database) },
    ],
  });
  const server = await listen(app, config.HTTP_HOST, config.DASHBOARD_PORT, 'DASHBOARD_PORT');
  lifecycle.onStop('HTTP', () => server.close());
  log.info(`dashboard: ${httpAddress(config.HTTP_HOST, server.port)}${config.BASE_PATH}`);
}
