import { retryInBulk } from '../../shared/failures/bulk-retry.ts';
import type { FailureStores } from '../../shared/failures/standing-failures.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { recordDisagreements } from '../../shared/postgres/disagreements.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import type { RepairWork } from './repairs.ts';

// Executions per statement, which must end within the dashboard's own time limit.
const PAGE = 500;

/** The same as `tally retry`, for the failures of one cause or, without one, for all. */
export function retryOf(stores: FailureStores, cause?: string): RepairWork {
  return async (report, signal) => {
    const total = (await countFailures(stores.database)) + (await stores.queue.getFailedCount());
    await retryInBulk(
      stores,
      { cause },
      {
        signal,
        onPage: ({ retried, noRefresh, seen }) =>
          report({ done: retried, left: noRefresh, seen, total }),
      },
    );
  };
}

/** The same as `tally reconcile`. */
export function refreshOfStuck(database: Database): RepairWork {
  return async (report, signal) => {
    const [table] = await database.query<{ estimate: number }>(
      `SELECT greatest(reltuples, 0)::bigint AS estimate FROM pg_class WHERE oid = to_regclass('execution')`,
    );
    let [done, seen] = [0, 0];
    for (let after: number | undefined = 0; after !== undefined && !signal.aborted;) {
      const page: Awaited<ReturnType<typeof recordDisagreements>> = await recordDisagreements(
        database,
        after,
        PAGE,
      );
      done += page.disagreements.length;
      seen += PAGE;
      report({ done, left: 0, seen, total: table?.estimate ?? 0 });
      after = page.last;
    }
  };
}
