import type { Redis } from 'ioredis';
import type { Registry } from 'prom-client';
import { isLoopback, type StoresConfig } from '../shared/process/config.ts';
import { createCommitProbe } from '../shared/postgres/commit-probe.ts';
import { CommitReadiness, postgresProblem } from '../shared/postgres/commit-readiness.ts';
import {
  openDatabase,
  type Database,
  type TransactionDatabase,
} from '../shared/postgres/database.ts';
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
import { openBacklogQueue, type BacklogQueue } from '../shared/queue/backlog-queue.ts';
import { probeQueue } from '../shared/queue/queue-probe.ts';
import { warnOfServer } from '../shared/queue/redis-server.ts';
import { connectRedis } from '../shared/queue/redis.ts';
import { openRefreshQueue, type RefreshQueue } from '../shared/queue/refresh-queue.ts';
import { waitForSchema } from '../shared/postgres/schema.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';
import { measureBacklog } from './backlog-gauges.ts';
import { MarkerIntake } from './marker-intake.ts';
import { OutboxRelay } from './outbox-relay.ts';
import { startReconciler } from './reconciler.ts';
import { apiIsOff, createRefreshApi } from './refresh-api.ts';

/** The connections of a producer. */
interface ProducerStores {
  readonly database: TransactionDatabase;
  /** The API's own, with shorter timeouts. */
  readonly apiDatabase: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly backlogQueue: BacklogQueue;
}

/** What everything in a producer is made of. */
interface Parts extends ProducerStores {
  readonly config: StoresConfig;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  readonly registry: Registry;
  /** Rejects while Postgres can't finish commits. */
  readonly probe: () => Promise<void>;
  readonly tracing: Tracing | undefined;
}

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
  tracing?: Tracing,
): Promise<void> {
  const stores = openStores(config, lifecycle, log);
  const registry = createRegistry();
  const probe = createCommitProbe(config.DATABASE_URL, 'rows');
  const parts: Parts = { ...stores, config, lifecycle, log, registry, probe, tracing };
  measureBacklog(registry, parts);
  await serve(parts);
  warnOfServer(stores.redis, log);
  await waitForSchema(stores.database, lifecycle.signal, log);
  if (!lifecycle.stopping) startDuties(parts);
}

function openStores(config: StoresConfig, lifecycle: Lifecycle, log: Logger): ProducerStores {
  const database = openDatabase(config.DATABASE_URL, log, {
    connections: 4,
    name: 'producer',
    // A network that swallows an answer blocks the relay for this long.
    statementTimeoutMs: 10_000,
  });
  lifecycle.onStop('Postgres', () => database.close());
  // Connecting and answering together stay below the 3 s within which the API promises a 503.
  const apiDatabase = openDatabase(config.DATABASE_URL, log, {
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
  return { database, apiDatabase, redis, queue, backlogQueue };
}

/** Health, API and metrics. Beyond this machine, the API is off unless it has a token. */
async function serve(parts: Parts): Promise<void> {
  const { config, lifecycle, log, registry, database, redis, queue, probe, tracing } = parts;
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
    const apiDatabase = tracing?.statementsOf(parts.apiDatabase) ?? parts.apiDatabase;
    app.use('/v1', createRefreshApi(config, apiDatabase, log, tracing));
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
}

function startDuties(parts: Parts): void {
  const { config, lifecycle, log, registry, database } = parts;
  const relay = new OutboxRelay(parts);
  lifecycle.onStop('the relay', () => relay.close());
  relay.start();
  const repaired = createReconcilerMetric(registry);
  if (config.RECONCILE_INTERVAL_MS > 0) {
    const reconciler = startReconciler({ config, database, log, repaired });
    lifecycle.onStop('the reconciler', () => reconciler.close());
  }
  if (config.HARBOR_REDIS_URL !== undefined) startMarkerIntake(config.HARBOR_REDIS_URL, parts);
}

function startMarkerIntake(
  harborRedisUrl: string,
  { config, lifecycle, log, registry, database }: Parts,
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
