import type { StoresConfig } from '../shared/process/config.ts';
import { openDatabase } from '../shared/postgres/database.ts';
import { httpAddress } from '../shared/http/address.ts';
import { addHealth, addMetrics, createApp, listen } from '../shared/http/server.ts';
import type { Lifecycle } from '../shared/process/lifecycle.ts';
import { silentLogger, type Logger } from '../shared/process/logger.ts';
import {
  createJanitorMetrics,
  createRefreshMetrics,
  createRegistry,
} from '../shared/process/metrics.ts';
import { waitForQueue } from '../shared/queue/queue-probe.ts';
import { warnOfServer } from '../shared/queue/redis-server.ts';
import { connectRedis } from '../shared/queue/redis.ts';
import { openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import { waitForSchema } from '../shared/postgres/schema.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';
import { ActivityHistory } from './activity-history.ts';
import { ActivityLog, type WorkerFigures } from './activity-log.ts';
import { startFailedJanitor } from './failed-janitor.ts';
import { Lanes, type WorkerStores } from './lanes.ts';
import { Recorder } from './recorder.ts';
import { WORKER_CONNECTIONS } from './refresh-worker.ts';

/** Who a worker process is, and who hears of its work. */
interface WorkerProcess {
  /** Unique among all workers, on the queue and the dashboard. */
  readonly name: string;
  /** Called at most once a second with what was done. */
  readonly onFigures?: (figures: WorkerFigures) => void;
  readonly tracing?: Tracing | undefined;
}

/**
 * Starts one worker process; the lifecycle stops it. It listens first, without being ready, and
 * takes jobs once the schema is installed and Redis takes what the queue needs. Resolves then, or
 * when a stop comes first.
 * @throws TallyError PORT_IN_USE or CANNOT_LISTEN
 */
export async function runWorker(
  config: StoresConfig,
  lifecycle: Lifecycle,
  log: Logger,
  { name, onFigures, tracing }: WorkerProcess,
): Promise<void> {
  const stores = openStores(config, lifecycle, log);
  const { database, redis, fastRedis, queue } = stores;
  const history = new ActivityHistory(redis, config, name);
  lifecycle.onStop('the activity history', () => history.close());
  const activity = new ActivityLog(log, onFigures);
  lifecycle.onStop('the activity log', () => activity.close());
  const registry = createRegistry();
  const recorder = new Recorder({
    metrics: createRefreshMetrics(registry),
    log: activity,
    history,
  });
  const janitorMetrics = createJanitorMetrics(registry);
  const lanes = new Lanes({ ...stores, config, recorder, log, name, tracing });

  const app = createApp();
  addHealth(app, lanes.checks, { details: true });
  addMetrics(app, registry);
  const server = await listen(app, config.HTTP_HOST, config.WORKER_PORT, 'WORKER_PORT');
  lifecycle.onStop('HTTP', () => server.close());
  // Registered late, so that it closes before the connections it uses.
  lifecycle.onStop('the worker', () => lanes.close());
  log.info(`worker ${name}: health and metrics on ${httpAddress(config.HTTP_HOST, server.port)}`);
  warnOfServer(redis, log);

  await waitForSchema(database, lifecycle.signal, log);
  await waitForQueue(() => lanes.probeRedis(), lifecycle.signal, log);
  if (lifecycle.stopping) return;
  const janitor = startFailedJanitor({
    config,
    database,
    redis: fastRedis,
    queue,
    metrics: janitorMetrics,
    log,
  });
  lifecycle.onStop('the failed-janitor', () => janitor.close());
  lanes.start();
  log.info(`taking jobs, ${config.WORKER_CONCURRENCY} at a time`);
}

function openStores(config: StoresConfig, lifecycle: Lifecycle, log: Logger): WorkerStores {
  const database = openDatabase(config.DATABASE_URL, log, {
    connections: WORKER_CONNECTIONS,
    name: 'worker',
  });
  lifecycle.onStop('Postgres', () => database.close());
  const backlogDatabase = openDatabase(config.DATABASE_URL, log, {
    connections: 1,
    name: 'worker backlog',
  });
  lifecycle.onStop('Postgres', () => backlogDatabase.close());
  const redis = connectRedis(config, 'patient', log);
  lifecycle.onStop('Redis', () => redis.disconnect());
  // The other connection logs outages.
  const fastRedis = connectRedis(config, 'failFast', silentLogger());
  lifecycle.onStop('Redis', () => fastRedis.disconnect());
  const queue = openRefreshQueue(config, fastRedis);
  lifecycle.onStop('the queue', () => queue.close());
  return { database, backlogDatabase, redis, fastRedis, queue };
}
