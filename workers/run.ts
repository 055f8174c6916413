import type { StoresConfig } from '../shared/process/config.ts';
import { createCommitProbe } from '../shared/postgres/commit-probe.ts';
import { CommitReadiness, postgresProblem } from '../shared/postgres/commit-readiness.ts';
import { openDatabase } from '../shared/postgres/database.ts';
import { httpAddress } from '../shared/http/address.ts';
import type { HealthCheck } from '../shared/http/health.ts';
import { addHealth, addMetrics, createApp, listen } from '../shared/http/server.ts';
import type { Lifecycle } from '../shared/process/lifecycle.ts';
import { silentLogger, type Logger } from '../shared/process/logger.ts';
import {
  createJanitorMetrics,
  createRefreshMetrics,
  createRegistry,
} from '../shared/process/metrics.ts';
import { probeQueue, waitForQueue } from '../shared/queue/queue-probe.ts';
import { warnOfServer } from '../shared/queue/redis-server.ts';
import { connectRedis, settingsOf } from '../shared/queue/redis.ts';
import { openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import { waitForSchema } from '../shared/postgres/schema.ts';
import { ActivityHistory } from './activity-history.ts';
import { ActivityLog, type WorkerFigures } from './activity-log.ts';
import { startFailedJanitor } from './failed-janitor.ts';
import type { Probe } from './attempt.ts';
import { createBacklogWorker } from './backlog-worker.ts';
import { Recorder } from './recorder.ts';
import { createRefreshWorker, WORKER_CONNECTIONS } from './refresh-worker.ts';
import { watchStores } from './store-watches.ts';
import type { WatchedWorker } from './watched-worker.ts';

/**
 * Starts one worker process; the lifecycle stops it. It listens first, without being ready, and
 * takes jobs once the schema is installed and Redis takes what the queue needs. Resolves then, or
 * when a stop comes first.
 * @param name unique among all workers, on the queue and the dashboard
 * @param onFigures called at most once a second with what was done
 * @throws TallyError PORT_IN_USE or CANNOT_LISTEN
 */
export async function runWorker(
  config: StoresConfig,
  lifecycle: Lifecycle,
  log: Logger,
  name: string,
  onFigures?: (figures: WorkerFigures) => void,
): Promise<void> {
  const databaseUrl = config.DATABASE_URL;
  const database = openDatabase(databaseUrl, log, {
    connections: WORKER_CONNECTIONS,
    name: 'worker',
  });
  lifecycle.onStop('Postgres', () => database.close());
  const backlogDatabase = openDatabase(databaseUrl, log, {
    connections: 1,
    name: 'worker backlog',
  });
  lifecycle.onStop('Postgres', () => backlogDatabase.close());
  const redis = connectRedis(config, 'patient', log);
  lifecycle.onStop('Redis', () => redis.disconnect());
  // Commands on this connection fail quickly, so that a stop doesn't wait for an unavailable Redis.
  // The other connection logs the outage.
  const janitorRedis = connectRedis(config, 'failFast', silentLogger());
  lifecycle.onStop('Redis', () => janitorRedis.disconnect());
  const queue = openRefreshQueue(config, janitorRedis);
  lifecycle.onStop('the queue', () => queue.close());

  const history = new ActivityHistory(redis, config, name);
  lifecycle.onStop('the activity history', () => history.close());
  const activity = new ActivityLog(log, onFigures);
  lifecycle.onStop('the activity log', () => activity.close());
  const registry = createRegistry();
  const metrics = createRefreshMetrics(registry);
  const recorder = new Recorder({ metrics, log: activity, history });
  const probe: Probe = createCommitProbe(databaseUrl, 'refreshes');
  const commits = new CommitReadiness(probe, log);
  const probeRedis = async (): Promise<void> => {
    if (!workers.every(({ connected }) => connected)) throw new Error('not connected');
    await probeQueue(config, queue, janitorRedis);
  };
  const stores = watchStores(
    { postgres: probe, redis: probeRedis },
    settingsOf(redis, config),
    log,
  );
  const shared = { config, redis, probe, stores, recorder, log, name };
  const refreshWorker = createRefreshWorker({ ...shared, database });
  const workers: readonly WatchedWorker[] = [
    refreshWorker,
    createBacklogWorker({ ...shared, database: backlogDatabase, queue }),
  ];
  const areRunning = (): boolean => workers.every(({ running }) => running);
  let started = false;
  const checkRedis = async (): Promise<undefined> => {
    try {
      await probeRedis();
    } catch (error) {
      // Until the start, `waitForQueue` logs the problem.
      if (started) stores.redis.reportFound(error);
      throw error;
    }
  };
  const janitorMetrics = createJanitorMetrics(registry);
  const checks: HealthCheck[] = [
    { name: 'postgres', required: true, check: () => postgresProblem(database, commits) },
    { name: 'redis', required: true, check: () => checkRedis() },
    {
      name: 'worker',
      required: true,
      check: async () => (areRunning() ? undefined : 'not taking jobs'),
    },
  ];
  const app = createApp();
  addHealth(app, checks, { details: true });
  addMetrics(app, registry);
  const server = await listen(app, config.HTTP_HOST, config.WORKER_PORT, 'WORKER_PORT');
  lifecycle.onStop('HTTP', () => server.close());
  // Registered last, so that it closes first, before the connections it uses.
  lifecycle.onStop('the worker', async () => {
    stores.postgres.close();
    stores.redis.close();
    await Promise.all(workers.map((worker) => worker.close()));
  });
  log.info(`worker ${name}: health and metrics on ${httpAddress(config.HTTP_HOST, server.port)}`);

  warnOfServer(redis, log);
  await waitForSchema(database, lifecycle.signal, log);
  await waitForQueue(probeRedis, lifecycle.signal, log);
  if (lifecycle.stopping) return;
  const janitor = startFailedJanitor({
    config,
    database,
    redis: janitorRedis,
    queue,
    metrics: janitorMetrics,
    log,
  });
  lifecycle.onStop('the failed-janitor', () => janitor.close());
  for (const worker of workers) worker.start();
  started = true;
  log.info(`taking jobs, ${config.WORKER_CONCURRENCY} at a time`);
}
