import type { Database } from '../../shared/postgres/database.ts';
import { until } from './wait.ts';

/**
 * Waits until a session of this database waits for a lock that another one holds.
 * @param kind `row`: of a row or table; `advisory`: which a trigger of the test takes
 */
export async function someoneToWait(
  database: Database,
  kind: 'row' | 'advisory' = 'row',
): Promise<void> {
  await until(`a session to wait for a lock (${kind})`, async () => {
    const waiting = await database.query(
      `SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
          AND (wait_event = 'advisory') = $1`,
      [kind === 'advisory'],
    );
    return waiting.length > 0;
  });
}
