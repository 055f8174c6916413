import type { Database } from '../../../shared/postgres/database.ts';
import { describeError } from '../../../shared/errors.ts';
import type { Logger } from '../../../shared/process/logger.ts';
import { startLoop, type Loop } from '../../../shared/process/loop.ts';
import { DEMO_TRIGGER } from './seed.ts';

const TICK_MS = 100;
const FINAL = ['Success', 'Success', 'Success', 'Success', 'Error', 'Stopped'] as const;

/**
 * Starts a simulated job service: the demonstration's tasks start again and finish moments later,
 * with `rate` changes per second in all. It only changes tasks and knows nothing of Tally.
 */
export function startSimulatedJobService(database: Database, rate: number, log: Logger): Loop {
  const service = new SimulatedJobService(database, (rate * TICK_MS) / 1000);
  return startLoop({
    step: () => service.tick(),
    outage: {
      begin: (error) => log.debug(`simulated job service: ${describeError(error)}`),
      end: () => undefined,
    },
  });
}

class SimulatedJobService {
  readonly #database: Database;
  readonly #changesPerTick: number;
  #running: number[] = [];
  #owed = 0;

  constructor(database: Database, changesPerTick: number) {
    this.#database = database;
    this.#changesPerTick = changesPerTick;
  }

  /** @returns milliseconds until the next tick; undefined if there are no tasks */
  async tick(): Promise<number | undefined> {
    const owed = this.#owed + this.#changesPerTick;
    const changes = Math.floor(owed);
    this.#owed = owed - changes;
    const range = await this.#taskRange();
    if (range === undefined) return undefined;
    await this.#change(changes, range);
    return TICK_MS;
  }

  async #taskRange(): Promise<{ low: number; high: number } | undefined> {
    const [range] = await this.#database.query<{ low: number | null; high: number | null }>(
      'SELECT min(id)::bigint AS low, max(id)::bigint AS high FROM task',
    );
    return range?.low == null || range.high == null
      ? undefined
      : { low: range.low, high: range.high };
  }

  async #change(changes: number, range: { low: number; high: number }): Promise<void> {
    const keepRunning = this.#changesPerTick * 20;
    const finishing =
      this.#running.length > keepRunning ? this.#running.splice(0, Math.ceil(changes / 2)) : [];
    const starting = Array.from(
      { length: Math.max(0, changes - finishing.length) },
      () => range.low + Math.floor(Math.random() * (range.high - range.low + 1)),
    );
    this.#running.push(...starting);
    const statuses = [
      ...finishing.map(() => FINAL[Math.floor(Math.random() * FINAL.length)]),
      ...starting.map(() => 'Running'),
    ];
    await this.#database.query(
      `WITH wanted AS (
         SELECT DISTINCT ON (id) id, status FROM unnest($1::bigint[], $2::text[]) AS w (id, status)
       )
       UPDATE task t
          SET status = w.status,
              status_code = CASE WHEN w.status = 'Running' THEN 2 ELSE 3 END,
              start_time = CASE WHEN w.status = 'Running' THEN date_trunc('second', now() AT TIME ZONE 'UTC')
                                ELSE t.start_time END,
              end_time = CASE WHEN w.status = 'Running' THEN NULL
                              ELSE date_trunc('second', now() AT TIME ZONE 'UTC') END
         FROM wanted w, execution e
        WHERE t.id = w.id AND e.id = t.execution_id AND e.trigger = $3`,
      [[...finishing, ...starting], statuses, DEMO_TRIGGER],
    );
  }
}
