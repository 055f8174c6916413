import type { Database } from '../../shared/postgres/database.ts';
import { until } from './wait.ts';

type Kind = 'row' | 'advisory';

/**
 * Waits until a session of this database waits for a lock that another one holds.
 * @param kind `row`: of a row or table; `advisory`: which a trigger of the test takes
 */
export async function someoneToWait(database: Database, kind: Kind = 'row'): Promise<void> {
  await until(`a session to wait for a lock (${kind})`, () => someoneWaits(database, kind));
}

/**
 * Waits until this work has ended, or waits for the lock of a row that somebody else holds, and
 * says which. So a test that expects it not to wait fails by that, and not by its time limit.
 */
export async function endedOrWaits(
  database: Database,
  work: Promise<unknown>,
): Promise<'ended' | 'waits'> {
  let hasEnded = false;
  const end = (): void => {
    hasEnded = true;
  };
  void work.then(end, end);
  return until('it to end, or to wait for a lock', async () => {
    if (hasEnded) return 'ended';
    return (await someoneWaits(database, 'row')) ? 'waits' : undefined;
  });
}

async function someoneWaits(database: Database, kind: Kind): Promise<boolean> {
  const waiting = await database.query(
    `SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND (wait_event = 'advisory') = $1`,
    [kind === 'advisory'],
  );
  return waiting.length > 0;
}
