import type { Registry } from 'prom-client';
import { isLoopback, type Config, type StoresConfig } from '../shared/process/config.ts';
import { createCommitProbe } from '../shared/postgres/commit-probe.ts';
import { CommitReadiness, postgresProblem } from '../shared/postgres/commit-readiness.ts';
import { openDatabase, type TransactionDatabase } from '../shared/postgres/database.ts';
import { connectHarborRedis } from '../shared/harbor/redis.ts';
import { httpAddress } from '../shared/http/address.ts';
import {
  addHealth,
  addMetrics,
  createApp,
  listen,
  requireLocalHost,
} from '../shared/http/server.ts';
import type { Lifecycle } from '../shared/process/lifecycle.ts';
import type { Logger } from '../shared/process/logger.ts';
import {
  createMalformedMarkersMetric,
  createReconcilerMetric,
  createRegistry,
} from '../shared/process/metrics.ts';
import { openBacklogQueue } from '../shared/queue/backlog-queue.ts';
import { probeQueue } from '../shared/queue/queue-probe.ts';
import { warnOfServer } from '../shared/queue/redis-server.ts';
import { connectRedis } from '../shared/queue/redis.ts';
import { openRefreshQueue } from '../shared/queue/refresh-queue.ts';
import { waitForSchema } from '../shared/postgres/schema.ts';
import { measureBacklog } from './backlog-gauges.ts';
import { MarkerIntake } from './marker-intake.ts';
import { OutboxRelay } from './outbox-relay.ts';
import { startReconciler } from './reconciler.ts';
import { apiIsOff, createRefreshApi } from './refresh-api.ts';

/**
 * Starts one producer: the API, the relay, the reconciler and, if Harbor's Redis is configured, the
 * marker intake. The lifecycle stops it. It listens first and is ready once Postgres finishes
 * commits; Redis isn't needed to accept refreshes. Resolves when all of it runs, or when a stop
 * comes first.
 * @throws TallyError PORT_IN_USE or CANNOT_LISTEN
 */
export async function runProducer(
  config: StoresConfig,
  lifecycle: Lifecycle,
  log: Logger,
): Promise<void> {
  const databaseUrl = config.DATABASE_URL;
  const database = openDatabase(databaseUrl, log, {
    connections: 4,
    name: 'producer',
    // A network that swallows an answer blocks the relay for this long.
    statementTimeoutMs: 10_000,
  });
  lifecycle.onStop('Postgres', () => database.close());
  // Connecting and answering together stay below the 3 s within which the API promises a 503.
  const apiDatabase = openDatabase(databaseUrl, log, {
    connections: 5,
    name: 'api',
    connectTimeoutMs: 1_000,
    statementTimeoutMs: 1_300,
  });
  lifecycle.onStop('Postgres', () => apiDatabase.close());
  const redis = connectRedis(config, 'failFast', log);
  lifecycle.onStop('Redis', () => redis.disconnect());
  const queue = openRefreshQueue(config, redis);
  lifecycle.onStop('the queue', () => queue.close());
  const backlogQueue = openBacklogQueue(config, redis);
  lifecycle.onStop('the queue of the backlog', () => backlogQueue.close());

  const registry = createRegistry();
  measureBacklog(registry, config, database, queue, redis);
  const probe = createCommitProbe(databaseUrl, 'rows');
  const commits = new CommitReadiness(probe, log);
  const app = createApp(config.TRUST_PROXY);
  addHealth(
    app,
    [
      { name: 'postgres', required: true, check: () => postgresProblem(database, commits) },
      {
        name: 'redis',
        required: false,
        check: () => probeQueue(config, queue, redis).then(() => undefined),
      },
    ],
    { details: true },
  );
  const exposed = !isLoopback(config.HTTP_HOST);
  const apiIsOn = !exposed || config.API_TOKEN !== undefined;
  if (!apiIsOn) {
    log.warn('the API is off: it would listen beyond this machine; set API_TOKEN to turn it on');
    app.use('/v1', apiIsOff);
  } else {
    app.use('/v1', createRefreshApi(config, apiDatabase, log));
  }
  if (!exposed && config.API_TOKEN === undefined) app.use(requireLocalHost);
  addMetrics(app, registry);
  const server = await listen(app, config.HTTP_HOST, config.PRODUCER_PORT, 'PRODUCER_PORT');
  lifecycle.onStop('HTTP', () => server.close());
  const address = httpAddress(config.HTTP_HOST, server.port);
  log.info(
    apiIsOn
      ? `producer: refreshes are accepted on ${address}/v1/refreshes`
      : `producer: health and metrics on ${address}`,
  );

  warnOfServer(redis, log);
  await waitForSchema(database, lifecycle.signal, log);
  if (lifecycle.stopping) return;
  const relay = new OutboxRelay({ config, database, redis, queue, backlogQueue, probe, log });
  lifecycle.onStop('the relay', () => relay.close());
  relay.start();
  const repaired = createReconcilerMetric(registry);
  if (config.RECONCILE_INTERVAL_MS > 0) {
    const reconciler = startReconciler({ config, database, log, repaired });
    lifecycle.onStop('the reconciler', () => reconciler.close());
  }
  if (config.HARBOR_REDIS_URL !== undefined) {
    startMarkerIntake(config.HARBOR_REDIS_URL, config, database, registry, lifecycle, log);
  }
}

function startMarkerIntake(
  harborRedisUrl: string,
  config: Config,
  database: TransactionDatabase,
  registry: Registry,
  lifecycle: Lifecycle,
  log: Logger,
): void {
  const redis = connectHarborRedis(harborRedisUrl, log);
  lifecycle.onStop("Harbor's Redis", () => redis.disconnect());
  const intake = new MarkerIntake({
    redis,
    database,
    delayMs: config.HARBOR_MARKER_DELAY_MS,
    log,
    malformed: createMalformedMarkersMetric(registry),
  });
  lifecycle.onStop('the marker intake', () => intake.close());
  intake.start();
}
