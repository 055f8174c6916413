import type { Logger } from '../shared/process/logger.ts';
import type { RedisSettings } from '../shared/queue/redis-errors.ts';
import type { Probe } from './attempt.ts';
import { StoreWatch } from './store-watch.ts';
import { ErrorLog } from './error-log.ts';
import { PauseSwitch } from './pause-switch.ts';
import { QueueWatch } from './queue-watch.ts';

/**
 * Both stores as the workers of one process see them: while one is unavailable, no worker takes
 * jobs.
 */
export interface StoreWatches {
  readonly postgres: StoreWatch;
  readonly redis: QueueWatch;
  readonly pauses: PauseSwitch<'Postgres' | 'Redis'>;
  /** Called each time Redis serves the queue again after it refused to. */
  readonly onRedisServesAgain: Set<() => void>;
  /** For errors that aren't an outage of either store. */
  readonly errors: ErrorLog;
}

/**
 * Creates the watches over both stores.
 * @param probes `postgres` resolves when the database finishes refreshes, `redis` when Redis takes
 *   what a job needs; their errors say what to do
 */
export function watchStores(
  probes: { readonly postgres: Probe; readonly redis: Probe },
  settings: RedisSettings,
  log: Logger,
): StoreWatches {
  const pauses = new PauseSwitch<'Postgres' | 'Redis'>();
  const onRedisServesAgain = new Set<() => void>();
  return {
    pauses,
    onRedisServesAgain,
    errors: new ErrorLog(log),
    postgres: new StoreWatch(log, {
      probe: probes.postgres,
      onUnavailable: () => pauses.hold('Postgres'),
      onAvailable: () => pauses.release('Postgres'),
    }),
    redis: new QueueWatch(log, {
      probe: probes.redis,
      settings,
      onUnavailable: () => pauses.hold('Redis'),
      onAvailable: () => {
        pauses.release('Redis');
        for (const act of onRedisServesAgain) act();
      },
    }),
  };
}
